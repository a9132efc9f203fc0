package component

import (
	"fmt"
	"net/url"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcd serves one member on unix sockets in the working directory: nobody but the owner of that directory reaches it,
// and no port can be taken. The paths are relative because a socket's path holds 104 bytes at most on some systems.
func etcd(args []string) error {
	flags := pflag.NewFlagSet("etcd", pflag.ContinueOnError)
	data := flags.String("data-dir", "data", "where etcd keeps its data")
	client := flags.String("client-socket", "client.sock", "the socket to serve clients on, relative to the working directory")
	peer := flags.String("peer-socket", "peer.sock", "the socket to serve peers on, relative to the working directory")
	if err := flags.Parse(args); err != nil {
		return err
	}

	cfg := embed.NewConfig()
	cfg.Dir = *data
	cfg.LogLevel = "warn"
	cfg.ListenClientUrls = socketURL(*client)
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.ListenPeerUrls = socketURL(*peer)
	cfg.AdvertisePeerUrls = cfg.ListenPeerUrls
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	// The data lives as long as the process. Without fsync a write costs microseconds, not a disk's milliseconds.
	cfg.UnsafeNoFsync = true
	// A single member elects itself when its election timeout ends, so the timeout is all there is to wait for.
	cfg.TickMs, cfg.ElectionMs = 10, 100

	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return <-e.Err()
}

func socketURL(name string) []url.URL {
	return []url.URL{{Scheme: "unix", Host: name}}
}
