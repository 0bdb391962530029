package main

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
)

// serveJSONRPC answers a branch call of a transaction whose protocol is json-rpc.
func (b *bank) serveJSONRPC(w http.ResponseWriter, method string, request *http.Request, body []byte) {
	var asked struct {
		Version string `json:"jsonrpc"`
		ID      any    `json:"id"`
		Method  string `json:"method"`
		Params  struct {
			order
			Gid       string `json:"gid"`
			TransType string `json:"trans_type"`
			BranchID  string `json:"branch_id"`
			Op        string `json:"op"`
		} `json:"params"`
	}
	err := json.Unmarshal(body, &asked)
	if err == nil && (asked.Version != "2.0" || asked.Method != method || asked.ID == nil) {
		err = errors.New("not a JSON-RPC request: " + string(body))
	}
	if err == nil {
		parameters := asked.Params
		err = b.answer(method, &call{
			query: request.URL.Query(), header: request.Header.Get, transType: parameters.TransType, gid: parameters.Gid,
			branchID: parameters.BranchID, op: parameters.Op, order: parameters.order,
		})
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": asked.ID}
	switch {
	case err == nil:
		answer["result"] = "done"
	case errors.Is(err, dtmcli.ErrFailure):
		answer["error"] = map[string]any{"code": dtmimp.JrpcCodeFailure, "message": err.Error()}
	case errors.Is(err, dtmcli.ErrOngoing):
		answer["error"] = map[string]any{"code": dtmimp.JrpcCodeOngoing, "message": err.Error()}
	default:
		answer["error"] = map[string]any{"code": -32603, "message": err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	must(json.NewEncoder(w).Encode(answer))
}
