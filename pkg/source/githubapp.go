package source

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// gitHubAppToken exchanges the key of a GitHub App for a token of its installation, which is good
// for an hour and for https. data has Flux's keys: githubAppID, githubAppPrivateKey, one of
// githubAppInstallationID and githubAppInstallationOwner, and githubAppBaseURL for a server of
// one's own (pkg/auth/githubapp).
func (a Auth) gitHubAppToken(ctx context.Context, where string, data map[string]string) (string, error) {
	refuse := func(what, why string) error { return &Error{Where: where, What: what, Why: why} }
	id, owner := data["githubAppInstallationID"], data["githubAppInstallationOwner"]
	if data["githubAppID"] == "" {
		return "", refuse("the GitHub App has no githubAppID", "")
	}
	if (id == "") == (owner == "") {
		return "", refuse("the GitHub App's installation is not clear", "exactly one of githubAppInstallationID and githubAppInstallationOwner must be given")
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(data["githubAppPrivateKey"]))
	if err != nil {
		return "", refuse("githubAppPrivateKey is not an RSA private key in PEM", "")
	}
	base := "https://api.github.com"
	if given := data["githubAppBaseURL"]; given != "" {
		u, err := url.Parse(given)
		if err != nil || u.Host == "" {
			return "", refuse("githubAppBaseURL is not a URL", "")
		}
		base = strings.TrimSuffix(given, "/")
		if !strings.HasPrefix(u.Host, "api.") && !strings.Contains(u.Host, ".api.") && !strings.HasSuffix(base, "/api/v3") {
			base += "/api/v3" // GitHub Enterprise Server
		}
	}
	now := time.Now().Add(-30 * time.Second) // clocks differ
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: data["githubAppID"], IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(2 * time.Minute)),
	}).SignedString(key)
	if err != nil {
		return "", refuse("the GitHub App's key cannot sign", "")
	}
	client, err := a.httpClient(remote{scheme: "https", host: base})
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	call := func(method, path string, into any) error {
		req, err := http.NewRequestWithContext(ctx, method, base+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+signed)
		req.Header.Set("Accept", "application/vnd.github+json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return err
		}
		if resp.StatusCode/100 != 2 {
			var answer struct{ Message string }
			_ = json.Unmarshal(body, &answer)
			return fmt.Errorf("%s %s: %s %s", method, path, resp.Status, answer.Message)
		}
		return json.Unmarshal(body, into)
	}
	if id == "" {
		var installation struct{ ID int64 }
		for _, kind := range []string{"/orgs/", "/users/"} {
			if err = call(http.MethodGet, kind+url.PathEscape(owner)+"/installation", &installation); err == nil {
				break
			}
		}
		id = strconv.FormatInt(installation.ID, 10)
	}
	var token struct{ Token string }
	if err == nil {
		err = call(http.MethodPost, "/app/installations/"+url.PathEscape(id)+"/access_tokens", &token)
	}
	if err == nil && token.Token == "" {
		err = fmt.Errorf("the answer has no token")
	}
	if err != nil {
		return "", &Error{
			Where: where, What: "the GitHub App got no token from " + redact(base), Why: stopped(ctx, err).Error(),
			Fix: "check githubAppID, the installation and the key", err: err,
		}
	}
	return token.Token, nil
}
