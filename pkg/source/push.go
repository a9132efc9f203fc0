package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	gitconfig "github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// ErrMoved is the error of a push to a branch that is not any more where Fetch found it. Fetch again,
// and make the commits anew.
var ErrMoved = errors.New("the branch has moved")

// PushOptions say what a push does besides moving the branch.
type PushOptions struct {
	Refspecs []string // SOURCE:DESTINATION, SOURCE being HEAD or the branch
	Options  map[string]string
}

// PushResult is what a server said to a push.
type PushResult struct {
	Messages    []string // what it told, a line each
	PullRequest string   // the address at which it offers to open a pull request, or has opened one; "" for none
}

// pushTime is how long a push may take that has begun: it is not cut short by its context.
const pushTime = 2 * time.Minute

// Push brings the commits of b to its branch at the remote. The branch moves only if it is still
// where Fetch found it; else the error wraps ErrMoved, and the remote is as it was.
func (b *Base) Push(ctx context.Context, o PushOptions) (*PushResult, error) {
	if b.up.URL == "" {
		return nil, &Error{Where: b.where(), What: "has no remote to push to", Fix: "git remote add origin URL; or --no-push"}
	}
	b.up.o.Progress("pushing to " + b.up.to.String())
	to, adv, err := b.up.receiver(ctx)
	if err != nil {
		return nil, stopped(ctx, err)
	}
	defer to.close()
	req, err := b.request(adv, o)
	if err != nil {
		return nil, err
	}
	said := &lines{}
	req.Progress = said
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), pushTime)
	defer cancel()
	status, err := to.push(sending, req)
	out := &PushResult{Messages: said.all()}
	for _, m := range out.Messages {
		if link := pullRequest.FindString(m); link != "" && out.PullRequest == "" {
			out.PullRequest = strings.TrimRight(link, ".,)")
		}
	}
	if err == nil && status != nil {
		err = status.Error()
	}
	if err == nil {
		return out, nil
	}
	return out, b.refused(sending, status, err, out.Messages)
}

// request asks for the branch, and all else, to be moved from where it is now.
func (b *Base) request(adv *packp.AdvRefs, o PushOptions) (*packp.ReferenceUpdateRequest, error) {
	name := plumbing.NewBranchReferenceName(b.Branch)
	if at := adv.References[name.String()]; at != plumbing.NewHash(b.Tip) {
		return nil, b.moved(at)
	}
	req := packp.NewReferenceUpdateRequestFromCapabilities(adv.Capabilities)
	req.Commands = []*packp.Command{{Name: name, Old: plumbing.NewHash(b.Tip), New: b.parent}}
	for _, spec := range o.Refspecs {
		to, err := b.destination(spec)
		if err != nil {
			return nil, err
		}
		old := adv.References[to.String()]
		switch {
		case old == b.parent || to == name:
			continue
		case !old.IsZero():
			own, err := b.repo.objects.beyond(context.Background(), old, b.parent)
			if err != nil {
				return nil, err
			}
			if !own.contained {
				return nil, &Error{Where: b.where(), What: "refspec " + spec + " would drop commits of " + to.String(), Why: "its commit " + old.String() + " is none of those before the new one", Fix: "delete " + to.String() + " at the remote, or leave spec.git.push.refspec out"}
			}
		}
		req.Commands = append(req.Commands, &packp.Command{Name: to, Old: old, New: b.parent})
	}
	if len(req.Commands) > 1 && adv.Capabilities.Supports(capability.Atomic) {
		if err := req.Capabilities.Set(capability.Atomic); err != nil {
			return nil, err
		}
	}
	if len(o.Options) > 0 {
		if !adv.Capabilities.Supports(capability.PushOptions) {
			return nil, &Error{Where: b.where(), What: "the server takes no push options", Fix: "leave spec.git.push.options out; on the server: git config receive.advertisePushOptions true"}
		}
		if err := req.Capabilities.Set(capability.PushOptions); err != nil {
			return nil, err
		}
		for k, v := range o.Options {
			if strings.ContainsAny(k+v, "\n\x00") {
				return nil, &Error{Where: b.where(), What: fmt.Sprintf("push option %q holds a line break", k)}
			}
			req.Options = append(req.Options, &packp.Option{Key: k, Value: v})
		}
		slices.SortFunc(req.Options, func(a, b *packp.Option) int { return strings.Compare(a.Key, b.Key) })
	}
	for _, c := range []capability.Capability{capability.Sideband64k, capability.Sideband} {
		if adv.Capabilities.Supports(c) {
			if err := req.Capabilities.Set(c); err != nil {
				return nil, err
			}
			break
		}
	}
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, b.mem, false).Encode(b.fresh, 0); err != nil {
		return nil, err
	}
	req.Packfile = io.NopCloser(&pack)
	return req, nil
}

// destination is where a refspec sends the branch.
func (b *Base) destination(spec string) (plumbing.ReferenceName, error) {
	bad := func(why string) error {
		return &Error{Where: "refspec " + spec, What: why, Fix: "spec.git.push.refspec: refs/heads/" + b.Branch + ":refs/heads/OTHER"}
	}
	from, to, ok := strings.Cut(spec, ":")
	name := plumbing.NewBranchReferenceName(b.Branch)
	switch {
	case strings.HasPrefix(spec, "+"):
		return "", bad("must not force")
	case from == "":
		return "", bad("must not delete")
	case !ok || to == "":
		return "", bad("is not SOURCE:DESTINATION")
	case from == "HEAD" || from == b.Branch:
		from = name.String()
	}
	rs := gitconfig.RefSpec(from + ":" + to)
	if err := rs.Validate(); err != nil {
		return "", bad(err.Error())
	}
	if !rs.Match(name) {
		return "", bad("sends something else than " + name.String())
	}
	dst := rs.Dst(name)
	if !strings.HasPrefix(dst.String(), "refs/") {
		dst = plumbing.NewBranchReferenceName(dst.String())
	}
	return dst, nil
}

func (b *Base) moved(at plumbing.Hash) error {
	e := &Error{Where: b.where(), What: "branch " + b.Branch + " has moved", err: ErrMoved}
	switch {
	case at.IsZero():
		e.Why = "it is not there any more"
	case b.Tip == "":
		e.Why = "somebody has made it"
	default:
		e.Why = "it was at " + b.Tip[:7] + ", and is at " + at.String()[:7]
	}
	return e
}

// refused finds out what became of a push that met an error: it may have arrived all the same, or
// somebody else was faster, or the server does not want it.
func (b *Base) refused(ctx context.Context, status *packp.ReportStatus, err error, said []string) error {
	if again, adv, dialErr := b.up.receiver(ctx); dialErr == nil {
		again.close()
		switch at := adv.References[plumbing.NewBranchReferenceName(b.Branch).String()]; {
		case at == b.parent && status == nil: // the answer was lost
			return nil
		case at != plumbing.NewHash(b.Tip) && at != b.parent:
			return b.moved(at)
		}
	}
	e := &Error{Where: b.where(), What: "the push to " + b.Branch + " failed", Why: b.up.o.Auth.scrub(cause(err), b.up.to.password), err: err}
	if status == nil {
		return e
	}
	e.What, e.Why = "the server refused the push to "+b.Branch, status.UnpackStatus
	for _, s := range status.CommandStatuses {
		if s.Error() != nil {
			e.Why = s.Status
			if s.ReferenceName != plumbing.NewBranchReferenceName(b.Branch) {
				e.What = "the server refused the push to " + s.ReferenceName.String()
			}
			break
		}
	}
	for _, m := range said {
		e.Why += "; " + b.up.o.Auth.scrub(m, b.up.to.password)
	}
	e.Fix = "for a protected branch: --push-branch NAME, or spec.git.push.branch, and a pull request"
	return e
}

// pullRequest is where a forge offers to open a pull or merge request, or shows one.
var pullRequest = regexp.MustCompile(`https?://[^\s"'<>]+/(?:pull/new|pulls?/|compare/|-/merge_requests|merge_requests|pull-requests)[^\s"'<>]*`)

// escape is what moves the cursor or changes colors.
var escape = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// lines collects what a server tells on the side.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() < 1<<16 {
		l.buf.Write(p)
	}
	return len(p), nil
}

// all are the lines without what only fills or moves the cursor.
func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for line := range strings.FieldsFuncSeq(escape.ReplaceAllString(l.buf.String(), ""), func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return -1
		}, line)
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// receiver is a connection to git-receive-pack.
type receiver interface {
	push(ctx context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error)
	close()
}

// receiver opens a connection and reads the references.
func (u *Upstream) receiver(ctx context.Context) (receiver, *packp.AdvRefs, error) {
	switch u.to.scheme {
	case "ssh":
		s, adv, err := dialGitSSH(ctx, u.o, u.to, transport.ReceivePackServiceName)
		return s, adv, err
	case "file":
		p, adv, err := u.program(ctx, u.to, "receive-pack")
		return p, adv, err
	}
	s, adv, err := dialHTTP(ctx, u.o, u.to, func(client *http.Client, c *credential) (*httpReceiver, *packp.AdvRefs, error) {
		ep, auth := u.to.endpoint(c)
		answer := &wholeAnswer{RoundTripper: client.Transport}
		client.Transport = answer
		rp, err := githttp.NewClient(client).NewReceivePackSession(ep, auth)
		if err != nil {
			return nil, nil, err
		}
		adv, err := rp.AdvertisedReferencesContext(ctx)
		return &httpReceiver{rp, client, answer}, adv, err
	})
	if e := (*Error)(nil); errors.As(err, &e) && errors.Is(err, transport.ErrAuthorizationFailed) {
		e.Fix = "the token must be allowed to write to this repository"
	}
	return s, adv, err
}

// httpReceiver pushes with go-git's transport. That stops to read where the report ends, and what a
// hook says after it, such as where to open a pull request, would be lost: so all of the answer is
// read here first.
type httpReceiver struct {
	transport.ReceivePackSession
	client *http.Client
	answer *wholeAnswer
}

func (h *httpReceiver) push(ctx context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	progress := req.Progress
	req.Progress = nil
	status, err := h.ReceivePack(ctx, req)
	if bands := demuxer(req, bytes.NewReader(h.answer.body)); bands != nil {
		bands.Progress = progress
		_, _ = io.Copy(io.Discard, bands)
	}
	return status, err
}

func (h *httpReceiver) close() { h.client.CloseIdleConnections() }

// wholeAnswer reads the answer to a push before anybody else does.
type wholeAnswer struct {
	http.RoundTripper
	body []byte
}

func (w *wholeAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.RoundTripper.RoundTrip(r)
	if err != nil || r.Method != http.MethodPost || res.StatusCode != http.StatusOK {
		return res, err
	}
	defer res.Body.Close()
	if w.body, err = io.ReadAll(io.LimitReader(res.Body, 4<<20)); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(w.body))
	return res, nil
}

// CloseIdleConnections is what http.Client looks for.
func (w *wholeAnswer) CloseIdleConnections() {
	if t, ok := w.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// demuxer takes the side bands that were asked for apart; nil where there are none.
func demuxer(req *packp.ReferenceUpdateRequest, in io.Reader) *sideband.Demuxer {
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, in)
	case req.Capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, in)
	}
	return nil
}

// push sends a request and reads the answer.
func (s *pipe) push(_ context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	if err := req.Encode(s.stdin); err != nil {
		return nil, err
	}
	if err := s.stdin.Close(); err != nil {
		return nil, err
	}
	var in io.Reader = s.stdout
	if bands := demuxer(req, in); bands != nil {
		bands.Progress = req.Progress
		in = bands
	}
	status := packp.NewReportStatus()
	if err := status.Decode(in); err != nil {
		if said := s.stderr.String(); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return nil, err
	}
	_, _ = io.Copy(io.Discard, in) // what a hook says behind the report
	return status, nil
}
