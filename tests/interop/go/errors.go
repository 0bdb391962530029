package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmgrpc"
	"github.com/dtm-labs/client/dtmgrpc/dtmgimp"
	"github.com/dtm-labs/client/dtmgrpc/dtmgpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func init() {
	addFor("http grpc", "errors: types and status codes", errorTypes)
	addFor("http grpc", "errors: no transaction of that gid", errorUnknownGid)
}

// answered is one call to the coordinator: status code and the error that the client derives from it.
type answered struct {
	httpStatus int
	code       codes.Code
	err        error
}

func (r *testRun) ask(operation string, body map[string]any) answered {
	text := func(key string) string { value, _ := body[key].(string); return value }
	if r.protocol == "http" {
		response, err := dtmcli.GetRestyClient().R().SetBody(body).Post(r.environment.api() + "/" + operation)
		succeeds(err)
		kind := response.Header().Get("Content-Type")
		check(strings.HasPrefix(kind, "application/json"), "content type: %s", kind)
		return answered{httpStatus: response.StatusCode(), err: dtmcli.HTTPResp2DtmError(response)}
	}
	client := dtmgimp.MustGetDtmClient(r.environment.grpc)
	request := &dtmgpb.DtmRequest{Gid: text("gid"), TransType: text("trans_type"), TransOptions: &dtmgpb.DtmTransOptions{}}
	if text("action") != "" {
		request.Steps = `[{"action":"` + text("action") + `"}]`
		request.BinPayloads = [][]byte{[]byte("{}")}
	}
	var err error
	switch operation {
	case "submit":
		_, err = client.Submit(background, request)
	case "prepare":
		_, err = client.Prepare(background, request)
	case "abort":
		_, err = client.Abort(background, request)
	case "registerBranch":
		_, err = client.RegisterBranch(background, &dtmgpb.DtmBranchRequest{
			Gid: text("gid"), TransType: text("trans_type"), BranchID: "01",
			Data: map[string]string{"confirm": "localhost:1/a/b", "cancel": "localhost:1/a/b"},
		})
	}
	return answered{code: status.Code(err), err: dtmgrpc.GrpcError2DtmError(err)}
}

func (r *testRun) isFailure(it answered) {
	check(errors.Is(it.err, dtmcli.ErrFailure), "%v is not ErrFailure", it.err)
	if r.protocol == "http" {
		check(it.httpStatus == http.StatusConflict, "HTTP status %d, expected 409: %v", it.httpStatus, it.err)
	} else {
		check(it.code == codes.Aborted, "gRPC status %v, expected Aborted: %v", it.code, it.err)
	}
}

func (r *testRun) isError(it answered, code codes.Code) {
	check(it.err != nil, "no error")
	check(!errors.Is(it.err, dtmcli.ErrFailure) && !errors.Is(it.err, dtmcli.ErrOngoing), "%v is more than an error", it.err)
	if r.protocol == "http" {
		check(it.httpStatus == http.StatusInternalServerError, "HTTP status %d, expected 500: %v", it.httpStatus, it.err)
	} else {
		check(it.code == code, "gRPC status %v, expected %v: %v", it.code, code, it.err)
	}
}

func errorTypes(r *testRun) {
	tcc := map[string]any{"gid": r.gid, "trans_type": "tcc"}
	succeeds(r.ask("prepare", tcc).err)
	succeeds(r.ask("prepare", tcc).err) // still prepared: again is fine
	succeeds(r.ask("submit", tcc).err)
	r.ends("succeed", "")
	r.isFailure(r.ask("prepare", tcc))
	r.isFailure(r.ask("submit", tcc))
	r.isFailure(r.ask("abort", tcc))
	r.isFailure(r.ask("registerBranch", map[string]any{
		"gid": r.gid, "trans_type": "tcc", "branch_id": "01", "confirm": "http://localhost:1", "cancel": "http://localhost:1",
	}))
}

func errorUnknownGid(r *testRun) {
	r.isError(r.ask("abort", map[string]any{"gid": r.gid, "trans_type": "tcc"}), codes.Internal)
	r.isError(r.ask("submit", map[string]any{"gid": r.gid, "trans_type": "magic"}), codes.Internal)
	equal("status", r.query().status(), "unknown gid")
}
