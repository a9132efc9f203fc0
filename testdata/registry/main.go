// The registry of the demo and the tutorial: in memory, on loopback, with token
// authentication where it has a user. It ends with whoever started it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry/server"
)

func main() {
	user := flag.String("user", "", "the one user, whose password is in REGISTRY_PASSWORD; without it everybody may read and write")
	listen := flag.String("listen", "127.0.0.1:0", "HOST:PORT to serve on")
	at := flag.String("at", "", "file to write HOST:PORT to when the registry is there")
	flag.Parse()
	if err := run(*listen, *user, os.Getenv("REGISTRY_PASSWORD"), *at); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(listen, user, password, at string) error {
	if user != "" && password == "" {
		return errors.New("-user wants its password in REGISTRY_PASSWORD")
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if at != "" {
		if err := os.WriteFile(at+".tmp", []byte(l.Addr().String()+"\n"), 0o644); err != nil {
			return err
		}
		if err := os.Rename(at+".tmp", at); err != nil {
			return err
		}
	}
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(time.Second)
		}
		os.Exit(0)
	}()
	return http.Serve(l, server.New(user, password))
}
