// Package component holds the programs that make up a control plane, each the real one and each run as a process of
// its own: they share process-wide feature gates, so two of them in one process would configure each other.
package component

import (
	"fmt"
	"os"
	"slices"
	"strings"

	// CronJobs name time zones; a container without /usr/share/zoneinfo must know them too.
	_ "time/tzdata"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// programs maps a component's name to its main, which returns the exit code.
var programs = map[string]func() int{
	"etcd":                    func() int { return exitCode("etcd", etcd(os.Args[1:])) },
	"kube-apiserver":          func() int { return exitCode("kube-apiserver", apiserver(os.Args[1:])) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kwok":                    func() int { return exitCode("kwok", kwok(os.Args[1:])) },
	"kubectl":                 kubectl,
}

// Run runs the named component until it ends and returns its exit code. args are the component's own arguments. They
// replace os.Args, because kwok and kubectl's look-up of plugins read that and nothing else.
func Run(name string, args []string) int {
	program, ok := programs[name]
	if !ok {
		names := make([]string, 0, len(programs))
		for n := range programs {
			names = append(names, n)
		}
		slices.Sort(names)
		return exitCode("devcluster", fmt.Errorf("component %q is not one of %s", name, strings.Join(names, ", ")))
	}
	os.Args = append([]string{name}, args...)
	return program()
}

// exitCode reports err as the last line of the component's log.
func exitCode(name string, err error) int {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}
