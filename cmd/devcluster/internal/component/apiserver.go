package component

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	app "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// ListenerFD is the file descriptor on which kube-apiserver finds its listening socket. The parent opens it, so that
// the port cannot be lost to somebody else between choosing and using it, and so that clients that come before the
// server is ready wait instead of being refused.
const ListenerFD = 3

// apiserver does what app.NewAPIServerCommand does, and two things that no flag does: it serves on the socket it
// inherited, and waits for etcd at --wait-for-socket (etcd's own client would retry once a second).
func apiserver(args []string) error {
	ctx := genericapiserver.SetupSignalContext()
	opts := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	etcdSocket := flags.String("wait-for-socket", "", "the socket to wait for before starting")
	if err := flags.Parse(args); err != nil {
		return err
	}

	file := os.NewFile(ListenerFD, "listener")
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("file descriptor %d is not a listening socket: %w", ListenerFD, err)
	}
	if err := file.Close(); err != nil {
		return err
	}
	opts.SecureServing.Listener = listener

	registry := opts.GenericServerRunOptions.ComponentGlobalsRegistry
	if err := registry.Set(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	gates := registry.FeatureGateFor(compatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(opts.Logs, gates); err != nil {
		return err
	}
	completed, err := opts.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	gates.(featuregate.MutableFeatureGate).AddMetrics()
	registry.AddMetrics()

	if err := waitForSocket(ctx, *etcdSocket); err != nil {
		return err
	}
	return app.Run(ctx, completed)
}

// waitForSocket returns when something accepts connections on the unix socket at path, after 20 s at most.
func waitForSocket(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd does not serve on %s: %w", path, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
