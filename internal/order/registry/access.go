package registry

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Access says how to reach a registry, and as whom.
type Access struct {
	// URL is its address, or several of the same registry joined by commas. Each may hold a user
	// and a password, which go before User and Password.
	URL            string
	User, Password string      // no user: no login
	TLS            *tls.Config // for https; nil: what the system trusts
	Timeout        time.Duration
}

// Enabled tells whether there is a registry at all.
func (a Access) Enabled() bool { return strings.Trim(a.URL, ", ") != "" }

// Options returns the options by which a client reaches the registry. No password is in their
// URLs, so that none gets into an error or a log. The error shows none either.
func (a Access) Options() (Options, error) {
	var opts Options
	logins := map[string]*url.Userinfo{} // by host
	for _, address := range split(a.URL) {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			expected := "http://host:8081 or https://host"
			if strings.Contains(address, "@") {
				expected = "https://user:password@host, with the signs of both percent-encoded"
			}
			return opts, fmt.Errorf("%q is not allowed, must be like %s", hide(address), expected)
		}
		if u.User != nil {
			logins[u.Host], u.User = u.User, nil
		}
		opts.URLs = append(opts.URLs, u.String())
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = a.TLS
	transport.MaxResponseHeaderBytes = 64 << 10
	opts.HTTP = &http.Client{Timeout: a.Timeout, Transport: transport}
	opts.Sign = func(req *http.Request) error {
		if login := logins[req.URL.Host]; login != nil {
			password, _ := login.Password()
			req.SetBasicAuth(login.Username(), password)
		} else if a.User != "" {
			req.SetBasicAuth(a.User, a.Password)
		}
		return nil
	}
	return opts, nil
}

// String names the registry in messages, without user and password.
func (a Access) String() string {
	all := split(a.URL)
	for i := range all {
		all[i] = hide(all[i])
	}
	return strings.Join(all, ",")
}

// Complete puts http:// before the addresses that have no scheme.
func Complete(joined string) string {
	all := split(joined)
	for i := range all {
		if !strings.Contains(all[i], "://") {
			all[i] = "http://" + all[i]
		}
	}
	return strings.Join(all, ",")
}

// split returns the addresses. What has no scheme and stands before an @ belongs to a password
// with a comma.
func split(joined string) []string {
	parts := strings.Split(joined, ",")
	var all []string
	for i := 0; i < len(parts); i++ {
		end := i
		for j := i + 1; j < len(parts) && !strings.Contains(parts[j], "://"); j++ {
			if strings.Contains(parts[j], "@") {
				end = j
			}
		}
		if address := strings.TrimSpace(strings.Join(parts[i:end+1], ",")); address != "" {
			all = append(all, address)
		}
		i = end
	}
	return all
}

// hide leaves out who logs in, also of what is no URL.
func hide(address string) string {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		scheme, rest = "", address
	} else {
		scheme += "://"
	}
	return scheme + rest[strings.LastIndexByte(rest, '@')+1:]
}
