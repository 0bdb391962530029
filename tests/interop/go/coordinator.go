package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmgrpc"
	"github.com/dtm-labs/client/dtmgrpc/dtmgimp"
	"google.golang.org/grpc/status"
)

const finalSeconds = 25

// stored is what the coordinator's query call prints.
type stored struct {
	Transaction *struct {
		Status           string `json:"status"`
		RollbackReason   string `json:"rollback_reason"`
		Options          string `json:"options"`
		Protocol         string `json:"protocol"`
		Result           string `json:"result"`
		NextCronInterval int    `json:"next_cron_interval"`
	} `json:"transaction"`
	Branches []struct {
		BranchID string `json:"branch_id"`
		Op       string `json:"op"`
		Status   string `json:"status"`
		BinData  []byte `json:"bin_data"`
	} `json:"branches"`
}

func (s stored) status() string {
	if s.Transaction == nil {
		return "unknown gid"
	}
	return s.Transaction.Status
}

func (s stored) rows() string {
	var rows []string
	for _, branch := range s.Branches {
		rows = append(rows, fmt.Sprintf("%s %s %s", branch.BranchID, branch.Op, branch.Status))
	}
	return strings.Join(rows, ", ")
}

func (r *testRun) query() stored {
	var answer stored
	response, err := dtmcli.GetRestyClient().R().SetResult(&answer).
		SetQueryParam("gid", r.gid).Get(r.environment.api() + "/query")
	succeeds(err)
	check(response.StatusCode() == http.StatusOK, "query: %d %s", response.StatusCode(), response)
	return answer
}

// nudge makes the transaction due now.
func (r *testRun) nudge() {
	response, err := dtmcli.GetRestyClient().R().SetBody(map[string]string{"gid": r.gid}).
		Post(r.environment.api() + "/resetNextCronTime")
	succeeds(err)
	check(response.StatusCode() == http.StatusOK, "resetNextCronTime: %d %s", response.StatusCode(), response)
}

// ends waits for a final status, without hurrying the coordinator.
func (r *testRun) ends(expected, rows string) { r.waitFor(expected, rows, false) }

// endsNudged waits for a final status; whenever nothing happens for a while, the transaction is made due.
func (r *testRun) endsNudged(expected, rows string) { r.waitFor(expected, rows, true) }

func (r *testRun) waitFor(expected, rows string, nudging bool) {
	deadline := time.Now().Add(finalSeconds * time.Second)
	nudged := time.Now()
	for {
		found := r.query()
		if status := found.status(); status == "succeed" || status == "failed" {
			equal("status", status, expected)
			equal("rows", found.rows(), rows)
			return
		}
		check(time.Now().Before(deadline), "not final after %d s: %s, %s", finalSeconds, found.status(), found.rows())
		if nudging && time.Since(nudged) > 700*time.Millisecond {
			r.nudge()
			nudged = time.Now()
		}
		time.Sleep(50 * time.Millisecond) // the coordinator has no event for its outside
	}
}

// reason checks the rollback reason.
func (r *testRun) reason(part string) {
	reason := r.query().Transaction.RollbackReason
	check(strings.Contains(reason, part), "rollback_reason: %q, expected to hear of %q", reason, part)
}

// saysFailure checks an error of the client's that came from the coordinator.
func (r *testRun) saysFailure(err error, parts ...string) {
	r.says(err, dtmcli.ErrFailure, "FAILURE", "Aborted", parts)
}

func (r *testRun) saysOngoing(err error, parts ...string) {
	r.says(err, dtmcli.ErrOngoing, "ONGOING", "FailedPrecondition", parts)
}

func (r *testRun) says(err, kind error, word, code string, parts []string) {
	check(err != nil, "no error, expected %s", word)
	if r.protocol == "grpc" {
		equal("gRPC status", status.Code(err).String(), code)
		check(errors.Is(dtmgrpc.GrpcError2DtmError(err), kind), "%v is not the client's %s", err, word)
	} else { // this client's HTTP errors are the answer's text
		check(strings.Contains(err.Error(), word), "%v does not say %s", err, word)
	}
	for _, part := range parts {
		check(strings.Contains(err.Error(), part), "%v does not say %q", err, part)
	}
	check(!strings.Contains(err.Error(), word+" "+word), "%v says %s twice", err, word)
}

// subscribe makes a url a subscriber of a topic.
func (r *testRun) subscribe(topic, url string) error {
	if r.protocol == "grpc" {
		_, err := dtmgimp.MustGetDtmClient(r.environment.grpc).Subscribe(background, topicRequest(topic, url))
		return err
	}
	response, err := dtmcli.GetRestyClient().R().
		SetQueryParams(map[string]string{"topic": topic, "url": url, "remark": "interop"}).
		Get(r.environment.api() + "/subscribe")
	if err == nil {
		err = dtmcli.HTTPResp2DtmError(response)
	}
	return err
}
