package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/git/signature"
	"github.com/go-git/go-git/v5/plumbing"
)

// Verify checks the signatures that spec.verify of a GitRepository asks for: mode HEAD (of the
// commit; also "head", as it was once), Tag or TagAndHEAD. keys are the Secret's: those of *.sshpub
// are authorized keys, all others PGP key rings. It returns a line for each signature that holds.
func (s *Snapshot) Verify(mode string, keys map[string]string) ([]string, error) {
	refuse := func(what, why, fix string, err error) ([]string, error) {
		return nil, &Error{Where: s.Revision, What: what, Why: why, Fix: fix, err: err}
	}
	if s.repo == nil {
		return refuse("its signature cannot be verified", "it is of no Git repository", "name the Git repository: --source DIR|URL", nil)
	}
	if s.Unborn() {
		return refuse("its signature cannot be verified", "nothing is committed", "git commit -S", nil)
	}
	var rings, authorized []string
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if strings.HasSuffix(name, ".sshpub") {
			authorized = append(authorized, keys[name])
		} else {
			rings = append(rings, keys[name])
		}
	}
	var said []string
	if mode == "Tag" || mode == "TagAndHEAD" {
		tag, err := s.repo.objects.get(plumbing.AnyObject, s.at.hash)
		if err != nil {
			return nil, err
		}
		name := s.at.label
		switch {
		case tag.Type() != plumbing.TagObject && s.at.branch != "" || name == "":
			return refuse("the tag's signature cannot be verified", "no tag was read, and spec.verify asks for one", "--ref TAG, or spec.verify.mode: HEAD", nil)
		case tag.Type() != plumbing.TagObject:
			return refuse("tag "+name+" is not signed", "it is not an annotated tag", "git tag -s", nil)
		}
		by, err := verifyObject(tag, rings, authorized)
		if err != nil {
			return refuse("the signature of tag "+name+" cannot be trusted", err.Error(), "", err)
		}
		said = append(said, "tag "+name+" is signed by "+by)
	}
	if mode == "Tag" {
		return said, nil
	}
	if mode != "" && !strings.EqualFold(mode, "HEAD") && mode != "TagAndHEAD" {
		return refuse(fmt.Sprintf("spec.verify.mode %q is unknown", mode), "", "HEAD, Tag or TagAndHEAD", nil)
	}
	commit, err := s.repo.objects.get(plumbing.CommitObject, plumbing.NewHash(s.Commit))
	if err != nil {
		return nil, err
	}
	by, err := verifyObject(commit, rings, authorized)
	if err != nil {
		return refuse("the signature of commit "+s.Commit+" cannot be trusted", err.Error(), "", err)
	}
	return append(said, "commit "+s.Commit+" is signed by "+by), nil
}

// verifyObject says whose signature a commit or a tag carries.
func verifyObject(o plumbing.EncodedObject, rings, authorized []string) (by string, err error) {
	r, err := o.Reader()
	if err != nil {
		return "", err
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	payload, sig := splitTag(raw)
	if o.Type() == plumbing.CommitObject {
		payload, sig = splitCommit(raw)
	}
	switch kind := signature.GetSignatureType(sig); {
	case sig == "":
		return "", errors.New("it has none")
	case kind == "openpgp" && len(rings) == 0:
		return "", errors.New("it is a PGP signature, and the Secret of spec.verify has no PGP key ring (*.asc)")
	case kind == "openpgp":
		if by, err = signature.VerifyPGPSignature(sig, payload, rings...); err == nil {
			return "PGP key " + by, nil
		}
	case kind == "ssh" && len(authorized) == 0:
		return "", errors.New("it is an SSH signature, and the Secret of spec.verify has no SSH key (*.sshpub)")
	case kind == "ssh":
		if by, err = signature.VerifySSHSignature(sig, payload, authorized...); err == nil {
			return "SSH key " + by, nil
		}
	default:
		return "", fmt.Errorf("it is of the kind %s; PGP and SSH can be verified", kind)
	}
	return "", fmt.Errorf("none of the keys in the Secret of spec.verify made it: %w", err)
}

// splitCommit takes the signature out of a commit's headers: what was signed is all the rest
// (commit.c, parse_signed_commit).
func splitCommit(raw []byte) (payload []byte, sig string) {
	head, body, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		return raw, ""
	}
	var out, signed bytes.Buffer
	inside, ours := false, false
	for line := range bytes.Lines(append(head, '\n')) {
		switch name, value, _ := bytes.Cut(line, []byte(" ")); {
		case inside && len(name) == 0:
			if ours {
				signed.Write(value)
			}
			continue
		case string(name) == "gpgsig":
			inside, ours = true, true
			signed.Write(value)
			continue
		case string(name) == "gpgsig-sha256":
			inside, ours = true, false
			continue
		}
		inside = false
		out.Write(line)
	}
	out.WriteByte('\n')
	out.Write(body)
	return out.Bytes(), signed.String()
}

// splitTag takes the signature from the end of a tag (gpg-interface.c, parse_signed_buffer).
func splitTag(raw []byte) (payload []byte, sig string) {
	at := len(raw)
	for i := 0; i < len(raw); {
		if line := raw[i:]; bytes.HasPrefix(line, []byte("-----BEGIN ")) &&
			slices.ContainsFunc([]string{"PGP SIGNATURE", "PGP MESSAGE", "SSH SIGNATURE", "SIGNED MESSAGE"}, func(kind string) bool {
				return bytes.HasPrefix(line, []byte("-----BEGIN "+kind+"-----"))
			}) {
			at = i
		}
		next := bytes.IndexByte(raw[i:], '\n')
		if next < 0 {
			break
		}
		i += next + 1
	}
	return raw[:at], string(raw[at:])
}
