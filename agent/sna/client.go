package sna

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// DefaultURL is the local end of the SSH tunnel to the SNA.
const DefaultURL = "http://127.0.0.1:9081"

// Defaults of [Options].
const (
	DefaultConnectTimeout  = 5 * time.Second
	DefaultStartTimeout    = 30 * time.Second
	DefaultQueryTimeout    = 10 * time.Second
	DefaultDiscoverTimeout = 5 * time.Minute
)

// Options configure a [Client]. A zero field takes its default; a negative
// duration is refused.
type Options struct {
	// URL is the base address of the SNA, DefaultURL when empty: scheme http, a
	// host, optionally a port and a path prefix, nothing else. The scheme must be
	// http because the SNA speaks nothing else; the tunnel protects the passwords.
	URL string
	// ConnectTimeout limits resolving and connecting, for every call.
	ConnectTimeout time.Duration
	// StartTimeout limits a start from the connection to the last byte of the answer.
	// The SNA answers as soon as it has forked SBC, before any vCenter login.
	StartTimeout time.Duration
	// QueryTimeout limits Health, Status and Progress in the same way.
	QueryTimeout time.Duration
	// DiscoverTimeout limits Discover in the same way: the SNA reads the whole
	// inventory, which takes 14 to 17 seconds for 98 VMs.
	DiscoverTimeout time.Duration
}

// Client calls one SNA. It keeps no connection open, and is safe for concurrent
// use.
type Client struct {
	base    *url.URL
	address string
	options Options
	dialer  net.Dialer
}

// New checks the options and returns a client. It does not connect.
func New(options Options) (*Client, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	base, err := parseURL(options.URL)
	if err != nil {
		return nil, fmt.Errorf("sna url %q: %w", redactedURL(options.URL), err)
	}
	port := base.Port()
	if port == "" {
		port = "80"
	}
	return &Client{
		base:    base,
		address: net.JoinHostPort(base.Hostname(), port),
		options: options,
		dialer:  net.Dialer{Timeout: options.ConnectTimeout},
	}, nil
}

// URL returns the base address the client calls.
func (c *Client) URL() string { return c.base.String() }

func (o Options) withDefaults() (Options, error) {
	if o.URL == "" {
		o.URL = DefaultURL
	}
	for _, t := range []struct {
		name    string
		value   *time.Duration
		initial time.Duration
	}{
		{"connect", &o.ConnectTimeout, DefaultConnectTimeout},
		{"start", &o.StartTimeout, DefaultStartTimeout},
		{"query", &o.QueryTimeout, DefaultQueryTimeout},
		{"discover", &o.DiscoverTimeout, DefaultDiscoverTimeout},
	} {
		if *t.value < 0 {
			return o, fmt.Errorf("sna %s timeout %v: must not be negative", t.name, *t.value)
		}
		if *t.value == 0 {
			*t.value = t.initial
		}
	}
	return o, nil
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // the outer error repeats the URL with user and password
		}
		return nil, err
	}
	switch {
	case u.Scheme != "http":
		return nil, errors.New("the scheme must be http, as in " + DefaultURL)
	case u.Hostname() == "":
		return nil, errors.New("the host is missing; write it as in " + DefaultURL)
	case u.User != nil:
		return nil, errors.New("user and password are not allowed: the SNA has no authentication")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("a query or fragment is not allowed")
	}
	return u, nil
}

// redactedURL hides a password in a mistyped URL.
func redactedURL(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "(unreadable)"
}

// Health asks whether the SNA answers. It says nothing about vCenter.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var health Health
	err := c.get(ctx, "health", "/api/v1/health", &health)
	return health, err
}
