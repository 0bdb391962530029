-- wrk script: every request submits one saga of two steps and waits for its result.
-- Arguments after "--": the branch's base url, and a word that makes the gids of this run its own.
-- Prints one line, "saga-result <requests> <microseconds> <errors> <p50 in microseconds> <p99 in microseconds>".

local prefix, tail
local number = 0

function init(arguments)
   local branch = arguments[1]
   local function step(name)
      return string.format('{"action":"%s/%s","compensate":"%s/%sRevert"}', branch, name, branch, name)
   end
   prefix = '{"gid":"' .. arguments[2] .. "-"
   tail = '","trans_type":"saga","protocol":"http","wait_result":true,"steps":['
      .. step("TransOut") .. "," .. step("TransIn")
      .. '],"payloads":["{\\"amount\\":30}","{\\"amount\\":30}"]}'
   wrk.method = "POST"
   wrk.path = "/api/dtmsvr/submit"
   wrk.headers["Content-Type"] = "application/json"
end

function request()
   number = number + 1
   return wrk.format(nil, nil, nil, prefix .. number .. tail)
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      "saga-result %d %d %d %d %d\n",
      summary.requests,
      summary.duration,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50),
      latency:percentile(99)
   ))
end
