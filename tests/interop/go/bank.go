package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmgrpc"
	"github.com/dtm-labs/client/dtmgrpc/dtmgimp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// order is the payload of every branch, as JSON (in a StringValue over gRPC).
type order struct {
	Store   string `json:"store"` // mysql, postgres or redis
	Account string `json:"account"`
	Amount  int    `json:"amount"` // negative: a withdrawal
	Inner   *order `json:"inner,omitempty"`
}

func (o order) message() *wrapperspb.StringValue {
	text, err := json.Marshal(o)
	must(err)
	return wrapperspb.String(string(text))
}

// call is what a branch is asked, whatever the protocol.
type call struct {
	context        context.Context // of the request, over gRPC
	query          url.Values      // of the request, over HTTP
	dtm            string
	transType, gid string
	branchID, op   string
	header         func(name string) string
	order          order
}

func (c *call) barrier() (*dtmcli.BranchBarrier, error) {
	return dtmcli.BarrierFrom(c.transType, c.gid, c.branchID, c.op)
}

// handler does the business of one method.
type handler func(*call) error

// answer decides what a branch says this time; it may do the business or not.
type answer func(*call, handler) error

func fine(c *call, business handler) error { return business(c) }
func refuse(*call, handler) error          { return fmt.Errorf("the bank refuses: %w", dtmcli.ErrFailure) }
func notYet(*call, handler) error          { return fmt.Errorf("the bank is closed: %w", dtmcli.ErrOngoing) }
func broken(*call, handler) error          { return errors.New("the bank is on fire") }
func lost(c *call, business handler) error { // done, but nobody hears of it
	if err := business(c); err != nil {
		return err
	}
	return errors.New("the answer is lost")
}

// bank is the business service: methods Move, Hold, LocalMysql, LocalPostgres, Query and Nested over HTTP and gRPC.
type bank struct {
	environment environment
	protocol    string
	ledgers     map[string]ledger
	address     string
	server      *grpc.Server

	lock    sync.Mutex
	answers map[string][]answer // by "gid branch op": consumed one by one, then fine
	called  map[string][]string // by gid: "branch op", in order
	headers map[string]string   // by gid: x-team of the last call
}

func newBank(e environment, protocol string) *bank {
	b := &bank{
		environment: e, protocol: protocol, ledgers: map[string]ledger{},
		answers: map[string][]answer{}, called: map[string][]string{}, headers: map[string]string{},
	}
	if e.token != "" {
		sendToken(e.http, e.grpc, e.token)
	}
	for _, store := range []string{"mysql", "postgres"} {
		if e.missing(store) == "" {
			b.ledgers[store] = newSQLLedger(e.database(store))
		}
	}
	if e.missing("redis") == "" {
		b.ledgers["redis"] = newRedisLedger(e.redis)
	}
	return b
}

func (b *bank) methods() map[string]handler {
	return map[string]handler{
		"Move": b.move, "Hold": b.hold, "Query": b.answerQuery, "Nested": b.nested,
		"LocalMysql": b.local("mysql"), "LocalPostgres": b.local("postgres"),
	}
}

// listen opens the port, so that the address is known; serve answers.
func (b *bank) listen(address string) net.Listener {
	listener, err := net.Listen("tcp", address)
	must(err)
	b.address = listener.Addr().String()
	if b.protocol == "grpc" {
		b.server = grpc.NewServer()
		registerBank(b.server, b.answer)
	}
	return listener
}

func (b *bank) serve(listener net.Listener) {
	if b.protocol == "grpc" {
		must(b.server.Serve(listener))
	} else {
		must(http.Serve(listener, http.HandlerFunc(b.serveHTTP)))
	}
}

func (b *bank) url(method string) string {
	if b.protocol == "grpc" {
		return b.address + bankService + method
	}
	return "http://" + b.address + bankService + method
}

func (b *bank) script(gid, call string, answers ...answer) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.answers[gid+" "+call] = answers
}

func (b *bank) calls(gid string) string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return strings.Join(b.called[gid], ", ")
}

// answer records the call and does what the script says, or the business.
func (b *bank) answer(method string, c *call) error {
	business := b.methods()[method]
	if business == nil {
		return fmt.Errorf("the bank has no %q", method)
	}
	if c.header("authorization") != "" {
		return errors.New("a branch was sent the coordinator's token")
	}
	key := c.branchID + " " + c.op
	chosen := answer(fine)
	b.lock.Lock()
	b.called[c.gid] = append(b.called[c.gid], key)
	b.headers[c.gid] = c.header("x-team")
	if left := b.answers[c.gid+" "+key]; len(left) > 0 {
		chosen, b.answers[c.gid+" "+key] = left[0], left[1:]
	}
	b.lock.Unlock()
	return chosen(c, business)
}

func (b *bank) move(c *call) error {
	barrier, err := c.barrier()
	if err != nil {
		return err
	}
	amount := c.order.Amount
	if c.op == "compensate" || c.op == "rollback" {
		amount = -amount
	}
	return b.ledgers[c.order.Store].move(barrier, c.order.Account, amount)
}

func (b *bank) hold(c *call) error {
	barrier, err := c.barrier()
	if err != nil {
		return err
	}
	accounts := b.ledgers[c.order.Store].(*sqlLedger)
	step := map[string]func(*sql.Tx, string, int) error{
		"try": accounts.hold, "confirm": accounts.settle, "cancel": accounts.release,
		"action": accounts.hold, "commit": accounts.settle, "rollback": accounts.release, // a workflow's names
	}[c.op]
	return accounts.guarded(barrier, func(tx *sql.Tx) error { return step(tx, c.order.Account, c.order.Amount) })
}

// local is one branch of an XA transaction; commit and rollback come without a payload, so the url names the store.
func (b *bank) local(store string) handler {
	return func(c *call) error {
		configuration := b.environment.database(store)
		change := func(db *sql.DB) error {
			return b.ledgers[store].(*sqlLedger).change(db, c.order.Account, c.order.Amount)
		}
		if b.protocol == "grpc" {
			return dtmgrpc.XaLocalTransaction(c.context, configuration, func(db *sql.DB, _ *dtmgrpc.XaGrpc) error { return change(db) })
		}
		return dtmcli.XaLocalTransaction(c.query, configuration, func(db *sql.DB, _ *dtmcli.Xa) error { return change(db) })
	}
}

func (b *bank) answerQuery(c *call) error {
	barrier, err := c.barrier()
	if err != nil {
		return err
	}
	return b.ledgers["mysql"].queryPrepared(barrier)
}

// nested tries its own part and calls a branch of its own below it.
func (b *bank) nested(c *call) error {
	if err := b.hold(c); err != nil || c.op != "try" {
		return err
	}
	if b.protocol == "grpc" {
		inner, err := dtmgrpc.TccFromGrpc(c.context)
		if err != nil {
			return err
		}
		return inner.CallBranch(c.order.Inner.message(), b.url("Hold"), b.url("Hold"), b.url("Hold"), &emptypb.Empty{})
	}
	inner, err := dtmcli.TccFromQuery(c.query)
	if err != nil {
		return err
	}
	_, err = inner.CallBranch(c.order.Inner, b.url("Hold"), b.url("Hold"), b.url("Hold"))
	return err
}

// ---- over HTTP, JSON-RPC among it ----

func (b *bank) serveHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	must(err)
	query := request.URL.Query()
	if strings.HasPrefix(request.URL.Path, "/workflow") {
		reply(w, resumeWorkflow(query, body))
		return
	}
	if method := query.Get("method"); method != "" {
		b.serveJSONRPC(w, method, request, body)
		return
	}
	c := &call{
		query: query, dtm: query.Get("dtm"), header: request.Header.Get, transType: query.Get("trans_type"),
		gid: query.Get("gid"), branchID: query.Get("branch_id"), op: query.Get("op"),
	}
	if len(body) > 0 && string(body) != "null" {
		err = json.Unmarshal(body, &c.order)
	}
	if err == nil {
		err = b.answer(strings.TrimPrefix(request.URL.Path, bankService), c)
	}
	reply(w, err)
}

func reply(w http.ResponseWriter, err error) {
	var result any = dtmcli.MapSuccess
	if err != nil {
		result = err
	}
	status, answer := dtmcli.Result2HttpJSON(result)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	must(json.NewEncoder(w).Encode(answer))
}

// ---- over gRPC ----

const bankService = "/interop.Bank/"

// registerBank adds the service interop.Bank: StringValue in, Empty out.
func registerBank(server grpc.ServiceRegistrar, answer func(method string, c *call) error) {
	description := grpc.ServiceDesc{ServiceName: "interop.Bank", HandlerType: (*any)(nil)}
	for _, name := range []string{"Move", "Hold", "Query", "Nested", "LocalMysql", "LocalPostgres"} {
		serve := func(ctx context.Context, request any) (any, error) {
			base := dtmgimp.TransBaseFromGrpc(ctx)
			incoming, _ := metadata.FromIncomingContext(ctx)
			c := &call{
				context: ctx, dtm: base.Dtm, transType: base.TransType, gid: base.Gid, branchID: base.BranchID, op: base.Op,
				header: func(name string) string { return strings.Join(incoming.Get(name), ",") },
			}
			var err error
			if text := request.(*wrapperspb.StringValue).Value; text != "" {
				err = json.Unmarshal([]byte(text), &c.order)
			}
			if err == nil {
				err = answer(name, c)
			}
			return &emptypb.Empty{}, dtmgrpc.DtmError2GrpcError(err)
		}
		description.Methods = append(description.Methods, grpc.MethodDesc{
			MethodName: name,
			Handler: func(service any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
				request := &wrapperspb.StringValue{}
				if err := decode(request); err != nil {
					return nil, err
				}
				if interceptor == nil {
					return serve(ctx, request)
				}
				return interceptor(ctx, request, &grpc.UnaryServerInfo{Server: service, FullMethod: bankService + name}, serve)
			},
		})
	}
	server.RegisterService(&description, nil)
}
