package main

import (
	"context"
	"strings"

	"github.com/dtm-labs/dtmdriver"
	"github.com/go-resty/resty/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// sendToken has each call of the client libraries to the coordinator carry the token, and none to a branch.
//
// Hooks of one resty client are not enough: the libraries have another one for each RequestTimeout.
func sendToken(coordinatorHTTP, coordinatorGRPC, token string) {
	dtmdriver.Middlewares.HTTP = append(dtmdriver.Middlewares.HTTP, func(_ *resty.Client, r *resty.Request) error {
		if strings.HasPrefix(r.URL, coordinatorHTTP+"/") {
			r.SetHeader("Authorization", "Bearer "+token)
		}
		return nil
	})
	dtmdriver.Middlewares.Grpc = append(dtmdriver.Middlewares.Grpc, func(ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if cc.Target() == coordinatorGRPC {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		return invoker(ctx, method, req, reply, cc, opts...)
	})
}
