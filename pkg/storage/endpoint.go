package storage

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// dataSource is a parsed Config.Endpoint.
type dataSource struct {
	path        string
	synchronous string
}

// parseEndpoint reads "sqlite:///abs/path/state.db[?synchronous=full|normal|off]".
// An unknown parameter is refused: a misspelt "synchronous" must not silently
// mean something else than the operator asked for.
func parseEndpoint(endpoint string) (dataSource, error) {
	if endpoint == "" {
		return dataSource{}, fmt.Errorf("storage endpoint is empty: want sqlite:///absolute/path/state.db")
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return dataSource{}, fmt.Errorf("storage endpoint %q cannot be parsed: %w", endpoint, err)
	}
	if u.Scheme != "sqlite" {
		return dataSource{}, fmt.Errorf("storage endpoint %q has scheme %q: want sqlite:///absolute/path/state.db", endpoint, u.Scheme)
	}
	if u.Host != "" || !filepath.IsAbs(u.Path) || strings.HasSuffix(u.Path, "/") || u.Fragment != "" {
		return dataSource{}, fmt.Errorf("storage endpoint %q has no absolute file path: want sqlite:///absolute/path/state.db", endpoint)
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return dataSource{}, fmt.Errorf("storage endpoint %q has malformed parameters: %w", endpoint, err)
	}
	source := dataSource{path: filepath.Clean(u.Path), synchronous: "full"}
	for name, values := range parameters {
		if name != "synchronous" {
			return dataSource{}, fmt.Errorf("storage endpoint %q has an unknown parameter %q: known is synchronous", endpoint, name)
		}
		switch value := strings.ToLower(values[len(values)-1]); value {
		case "full", "normal", "off":
			source.synchronous = value
		default:
			return dataSource{}, fmt.Errorf("storage endpoint %q: synchronous is %q: want full, normal or off", endpoint, value)
		}
	}
	return source, nil
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
