package main

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"dtm-coordinator/interop/user"
	"dtm-coordinator/interop/userscore"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmgrpc"
	_ "github.com/dtm-labs/dtmdriver-gozero"
	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/rest"
	"github.com/zeromicro/go-zero/rest/httpx"
	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
)

// serveBankRPC is a go-zero service: it registers in etcd what the file says.
func serveBankRPC(file string) {
	var configuration zrpc.RpcServerConf
	conf.MustLoad(file, &configuration)
	bank := newBank(readEnvironment(), "grpc")
	server := zrpc.MustNewServer(configuration, func(server *grpc.Server) {
		registerBank(server, func(method string, c *call) error {
			if c.op == "action" && c.order.Amount > 100 {
				return dtmcli.ErrFailure
			}
			return bank.answer(method, c)
		})
	})
	defer server.Stop()
	server.Start()
}

// apiConfiguration is the yaml file of the api in front.
type apiConfiguration struct {
	rest.RestConf
	DtmServer string // etcd://host:port/dtmservice
	UserRpc   zrpc.RpcClientConf
	ScoreRpc  zrpc.RpcClientConf
}

type registration struct {
	Name   string `json:"name"`
	Gender string `json:"gender"`
	Score  int32  `json:"score"`
}

type registered struct {
	Gid   string `json:"gid"`
	ID    string `json:"id"`
	Error string `json:"error"`
}

// serveRegisterAPI is a go-zero api: POST /register starts a saga over user.rpc and score.rpc.
func serveRegisterAPI(file string) {
	var configuration apiConfiguration
	conf.MustLoad(file, &configuration)
	must(dtmgrpc.UseDriver("dtm-driver-gozero"))
	server := rest.MustNewServer(configuration.RestConf)
	defer server.Stop()
	server.AddRoute(rest.Route{Method: http.MethodPost, Path: "/register", Handler: func(w http.ResponseWriter, request *http.Request) {
		var asked registration
		if err := httpx.ParseJsonBody(request, &asked); err != nil {
			httpx.Error(w, err)
			return
		}
		answer, err := register(configuration, asked)
		switch {
		case errors.Is(err, dtmcli.ErrFailure):
			httpx.WriteJson(w, http.StatusConflict, answer)
		case err != nil:
			httpx.WriteJson(w, http.StatusInternalServerError, answer)
		default:
			httpx.OkJson(w, answer)
		}
	}})
	server.Start()
}

func register(configuration apiConfiguration, asked registration) (registered, error) {
	userTarget, err := configuration.UserRpc.BuildTarget()
	must(err)
	scoreTarget, err := configuration.ScoreRpc.BuildTarget()
	must(err)
	id := time.Now().UnixNano()
	gid := dtmgrpc.MustGenGid(configuration.DtmServer)
	who := &user.UserRequest{Id: strconv.FormatInt(id, 10), Name: asked.Name, Gender: asked.Gender}
	score := &userscore.UserScoreRequest{UserId: id, Score: asked.Score}
	saga := dtmgrpc.NewSagaGrpc(configuration.DtmServer, gid).
		Add(userTarget+"/user.User/saveUser", userTarget+"/user.User/saveUserCallback", who).
		Add(scoreTarget+"/userscore.UserScore/saveUserScore", scoreTarget+"/userscore.UserScore/saveUserScoreCallback", score)
	saga.WaitResult = true
	err = dtmgrpc.GrpcError2DtmError(saga.Submit())
	answer := registered{Gid: gid, ID: who.Id}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer, err
}
