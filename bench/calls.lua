-- wrk script: plays the calls of one transaction one after the other, then those of the next.
-- Arguments after "--": a word that makes the gids of this run its own, the place that is taken by the gid, then path
-- and body of each call. With several calls a transaction, wrk needs as many threads as connections: a thread knows
-- its own calls, but not which connection they went through.
-- Prints one line: "result <transactions> <microseconds> <errors> <p50 in microseconds> <p99 in microseconds>".

local threads = {}

function setup(thread)
   table.insert(threads, thread)
   thread:set("place", #threads)
end

local calls = {}
local prefix
local number, current, began = 0, 1, 0
local answered = true
local microseconds
local gid

-- Global, because done() asks for them by name.
failed = 0
taken = {}

local function clock()
   local ffi = require("ffi")
   ffi.cdef("typedef struct { long seconds; long nanoseconds; } moment; int clock_gettime(int, moment *);")
   local now = ffi.new("moment[1]")
   return function()
      ffi.C.clock_gettime(1, now) -- monotonic
      return tonumber(now[0].seconds) * 1e6 + tonumber(now[0].nanoseconds) / 1e3
   end
end

local function split(text, mark)
   local parts, from = {}, 1
   while true do
      local first, last = text:find(mark, from, true)
      if not first then
         table.insert(parts, text:sub(from))
         return parts
      end
      table.insert(parts, text:sub(from, first - 1))
      from = last + 1
   end
end

function init(arguments)
   prefix = arguments[1] .. "-" .. place .. "-"
   for argument = 3, #arguments, 2 do
      table.insert(calls, { path = arguments[argument], parts = split(arguments[argument + 1], arguments[2]) })
   end
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   microseconds = clock()
   if #calls == 1 then
      response = nil -- wrk's own figures are those of the transactions; without it, wrk need not hand out answers
   end
end

function request()
   if current == 1 then
      if answered then
         number = number + 1
         gid = prefix .. number
         answered = response == nil
      end
      began = microseconds()
   end
   local call = calls[current]
   return wrk.format(nil, call.path, nil, table.concat(call.parts, gid))
end

-- wrk asks for one request more than it sends, so it is the answer that moves us on.
function response(status, _, _)
   local is_last = current == #calls
   if status ~= 200 then
      failed = failed + 1
   elseif is_last then
      table.insert(taken, microseconds() - began)
   end
   answered = is_last or status ~= 200 -- what would follow a failure has nothing to follow
   current = answered and 1 or current + 1
end

function done(summary, latency, _)
   local errors, refused, all = summary.errors, 0, {}
   for _, thread in ipairs(threads) do
      refused = refused + thread:get("failed")
      for _, it in ipairs(thread:get("taken")) do
         table.insert(all, it)
      end
   end
   refused = math.max(refused, errors.status)
   local transactions, p50, p99 = summary.requests - refused, latency:percentile(50), latency:percentile(99)
   if #all > 0 then
      table.sort(all)
      local function percentile(share)
         return all[math.max(1, math.ceil(#all * share))]
      end
      transactions, p50, p99 = #all, percentile(0.5), percentile(0.99)
   end
   local count = errors.connect + errors.read + errors.write + errors.timeout + refused
   io.write(string.format("result %d %d %d %d %d\n", transactions, summary.duration, count, p50, p99))
end
