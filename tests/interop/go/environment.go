package main

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/dtm-labs/client/dtmcli"
)

// environment is where everything is that the cases talk to.
type environment struct {
	http     string // INTEROP_HTTP: http://host:port of the coordinator
	grpc     string // INTEROP_GRPC: host:port of the coordinator
	mysql    string // INTEROP_MYSQL: mysql://user:password@host:port/database
	postgres string // INTEROP_POSTGRES: postgres://user:password@host:port/database
	redis    string // INTEROP_REDIS: host:port
	token    string // INTEROP_TOKEN: sent to the coordinator, unless empty
}

func readEnvironment() environment {
	return environment{
		http:     os.Getenv("INTEROP_HTTP"),
		grpc:     os.Getenv("INTEROP_GRPC"),
		mysql:    os.Getenv("INTEROP_MYSQL"),
		postgres: os.Getenv("INTEROP_POSTGRES"),
		redis:    os.Getenv("INTEROP_REDIS"),
		token:    os.Getenv("INTEROP_TOKEN"),
	}
}

func (e environment) api() string { return e.http + "/api/dtmsvr" }

// missing says why a store cannot be used, or nothing.
func (e environment) missing(store string) string {
	value := map[string]string{"mysql": e.mysql, "postgres": e.postgres, "redis": e.redis}[store]
	if value == "" {
		return "INTEROP_" + strings.ToUpper(store) + " is not set"
	}
	return ""
}

// database returns what the client libraries want to know about a database.
func (e environment) database(store string) dtmcli.DBConf {
	text := map[string]string{"mysql": e.mysql, "postgres": e.postgres}[store]
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" {
		panic(fmt.Sprintf("%s: %q is not a database's url", store, text))
	}
	port, _ := strconv.ParseInt(parsed.Port(), 10, 64)
	password, _ := parsed.User.Password()
	return dtmcli.DBConf{
		Driver:   store,
		Host:     parsed.Hostname(),
		Port:     port,
		User:     parsed.User.Username(),
		Password: password,
		Db:       strings.TrimPrefix(parsed.Path, "/"),
		Schema:   "public",
	}
}
