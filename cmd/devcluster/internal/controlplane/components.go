package controlplane

import (
	"fmt"
	"os"
	"strings"
)

// Set is which components run.
type Set string

// The sets. APIServer starts in half the time, for tests that need no controller: there a Deployment makes no pods, a
// deleted Namespace never goes, and a pod needs no ServiceAccount.
const (
	All       Set = "all"
	APIServer Set = "apiserver"
)

// ParseSet is the inverse of string(set).
func ParseSet(text string) (Set, error) {
	switch s := Set(text); s {
	case All, APIServer:
		return s, nil
	}
	return "", fmt.Errorf("--components %q is neither %s nor %s", text, All, APIServer)
}

// memoryNeeded is what the set needs free before it starts: what was measured resident on an empty cluster, and
// about as much again for what a test puts into it.
func (s Set) memoryNeeded() uint64 {
	if s == APIServer {
		return 512 << 20
	}
	return 1 << 30
}

// The arguments of each component. Paths are absolute, except etcd's sockets.

func etcdArgs() []string {
	return []string{"--data-dir=data", "--client-socket=client.sock", "--peer-socket=peer.sock"}
}

func apiserverArgs(d *Dir, set Set, port int) []string {
	args := []string{
		"--wait-for-socket=client.sock",
		"--etcd-servers=unix://client.sock",
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		// An address of a documentation network: endpoints may not be loopback, and a machine without a network has no
		// other. Nothing connects to it, since no endpoints are made for it.
		"--advertise-address=192.0.2.1",
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + d.file(credentialsDir, "server.crt"),
		"--tls-private-key-file=" + d.file(credentialsDir, "server.key"),
		"--service-account-key-file=" + d.file(credentialsDir, "service-account.key"),
		"--service-account-signing-key-file=" + d.file(credentialsDir, "service-account.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=" + serviceRange,
		"--token-auth-file=" + d.file(credentialsDir, "tokens.csv"),
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		"--profiling=false",
	}
	if set == APIServer {
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	return args
}

func controllerManagerArgs(d *Dir, kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--service-account-private-key-file=" + d.file(credentialsDir, "service-account.key"),
		"--root-ca-file=" + d.file(credentialsDir, "ca.crt"),
		"--leader-elect=false",
		"--use-service-account-credentials=false",
		"--secure-port=0",
		"--profiling=false",
		// The default of 20 requests a second makes a test that applies hundreds of Deployments wait for this client.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

func schedulerArgs(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

func kwokArgs(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--manage-all-nodes=true",
		"--cidr=10.1.0.0/16",
		// Nobody's address, as above: the API server asks it for logs, and must not find somebody's machine there.
		"--node-ip=192.0.2.2",
		"--node-lease-duration-seconds=40",
	}
}

// componentKubeconfig writes the kubeconfig of a component and returns its path.
func componentKubeconfig(d *Dir, c *credentials, server, user string) (string, error) {
	path := d.file(credentialsDir, strings.TrimPrefix(user, "system:")+".kubeconfig")
	return path, writeKubeconfig(path, server, c.ca, []contextUser{{"devcluster", c.users[user]}})
}

// linkKubectl makes a directory in which `kubectl` is executable, and returns its path.
func linkKubectl(d *Dir, executable string) (string, error) {
	dir := d.file(binDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, os.Symlink(executable, d.file(binDir, "kubectl"))
}
