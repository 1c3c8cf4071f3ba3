package storage

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
)

// dataSource is a parsed Config.Endpoint.
type dataSource struct {
	where    string // for messages: without a password
	readOnly bool
	// Of a file.
	path        string
	synchronous string
	// Of a server.
	server *serverSource
}

const wantEndpoint = "want sqlite:///absolute/path/state.db, mysql://user@host:3306/database or etcd://host:2379"

// parseEndpoint reads "sqlite:///abs/path/state.db[?synchronous=full|normal|off]"
// and "mysql://user[:password]@host[:port]/database[?…]". An unknown parameter is
// refused: a misspelt "synchronous" must not silently mean something else than
// the operator asked for.
func parseEndpoint(endpoint string) (dataSource, error) {
	if endpoint == "" {
		return dataSource{}, fmt.Errorf("storage endpoint is empty: %s", wantEndpoint)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		// The error of net/url repeats the endpoint, with its password.
		return dataSource{}, fmt.Errorf("storage endpoint cannot be parsed as a URL: %s; write special characters of a password as %%XX", wantEndpoint)
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return dataSource{}, fmt.Errorf("storage endpoint %q has malformed parameters: write special characters as %%XX", shown(u))
	}
	switch u.Scheme {
	case "sqlite":
		return parseFile(u, parameters)
	case "mysql":
		return parseServer(u, parameters)
	}
	return dataSource{}, fmt.Errorf("storage endpoint %q has scheme %q: %s", shown(u), u.Scheme, wantEndpoint)
}

func parseFile(u *url.URL, parameters url.Values) (dataSource, error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) || strings.HasSuffix(u.Path, "/") || u.Fragment != "" {
		return dataSource{}, fmt.Errorf("storage endpoint %q has no absolute file path: want sqlite:///absolute/path/state.db", shown(u))
	}
	source := dataSource{path: filepath.Clean(u.Path), synchronous: "full"}
	source.where = source.path
	err := take(u, parameters, map[string]*string{"synchronous": &source.synchronous})
	if err != nil {
		return dataSource{}, err
	}
	switch source.synchronous = strings.ToLower(source.synchronous); source.synchronous {
	case "full", "normal", "off":
		return source, nil
	}
	return dataSource{}, fmt.Errorf("storage endpoint %q: synchronous is %q: want full, normal or off", shown(u), source.synchronous)
}

func parseServer(u *url.URL, parameters url.Values) (dataSource, error) {
	s := &serverSource{network: "tcp", database: strings.TrimPrefix(u.Path, "/"), user: u.User.Username()}
	s.password, _ = u.User.Password()
	var socket, durability string
	err := take(u, parameters, map[string]*string{
		"user-file": &s.userFile, "password-file": &s.passwordFile, "socket": &socket, "durability": &durability,
		"ca-file": &s.caFile, "cert-file": &s.certFile, "key-file": &s.keyFile, "server-name": &s.serverName,
	})
	if err != nil {
		return dataSource{}, err
	}
	refuse := func(why string) (dataSource, error) {
		return dataSource{}, fmt.Errorf("storage endpoint %q %s: want mysql://user@host:3306/database", shown(u), why)
	}
	switch {
	case s.database == "" || strings.Contains(s.database, "/"):
		return refuse("names no database")
	case s.user == "" && s.userFile == "":
		return refuse("names no user")
	case u.Fragment != "":
		return refuse("has a fragment: write # as %23")
	case (s.certFile == "") != (s.keyFile == ""):
		return refuse("has only one of cert-file and key-file")
	case durability != "" && durability != "full" && durability != "relaxed":
		return refuse(fmt.Sprintf("has durability %q, which may be full or relaxed", durability))
	case socket != "" && u.Host != "":
		return refuse("has both a host and a socket")
	case socket != "":
		s.network, s.address = "unix", socket
	case u.Hostname() == "":
		return refuse("names no host")
	default:
		port := u.Port()
		if port == "" {
			port = "3306"
		}
		s.address = net.JoinHostPort(u.Hostname(), port)
	}
	s.relaxed = durability == "relaxed"
	return dataSource{where: s.address + "/" + s.database, server: s}, nil
}

// shown is an endpoint for messages: without passwords, wherever somebody wrote them.
func shown(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, User: url.User(u.User.Username()), Host: u.Host, Path: u.Path}
	if u.User == nil {
		bare.User = nil
	}
	return bare.String()
}

// take reads parameters, each at most once, and refuses those that are unknown.
func take(u *url.URL, parameters url.Values, known map[string]*string) error {
	for name, values := range parameters {
		to, ok := known[name]
		if !ok {
			return fmt.Errorf("storage endpoint %q has an unknown parameter %q: see the reference for those that are known", shown(u), name)
		}
		*to = values[len(values)-1]
	}
	return nil
}

// dsn is the data source in the words of the SQLite driver. A reader cannot
// write; the writer waits only briefly for a reader (a checkpoint may, nothing
// else does: the file lock keeps other processes away).
func (s dataSource) dsn(writer bool) string {
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(250)")
	q.Add("_pragma", "foreign_keys(0)")
	if writer {
		q.Add("_pragma", "synchronous("+s.synchronous+")")
		q.Add("_pragma", fmt.Sprintf("journal_size_limit(%d)", walKeep))
		q.Add("_pragma", fmt.Sprintf("wal_autocheckpoint(%d)", walPages))
		q.Add("_pragma", "cache_size(-16384)")
	} else {
		q.Add("_pragma", "query_only(1)")
	}
	return (&url.URL{Scheme: "file", Path: s.path, RawQuery: q.Encode()}).String()
}
