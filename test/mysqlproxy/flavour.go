package mysqlproxy

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Flavour is how another product differs from the MariaDB behind the proxy, as far as clients ask.
type Flavour struct {
	// Greeting is the version in the first packet.
	Greeting string
	// Expressions are what system variables ("version_comment") and functions without arguments ("version()") are in
	// MariaDB's SQL. Variables among them are also in SHOW VARIABLES. Setting one sets the variable that it is, or the user
	// variable of its name: settable makes expressions that tell what was set.
	Expressions map[string]string
	// Unknown are system variables that MariaDB has and the other product does not.
	Unknown []string
}

// MySQL84 answers like MySQL 8.4 where it calls things by other names.
var MySQL84 = Flavour{
	Greeting: "8.4.6",
	Expressions: map[string]string{
		"version": "'8.4.6'", "version()": "'8.4.6'", "version_comment": "'MySQL Community Server - GPL'",
		"transaction_isolation": "@@tx_isolation", "transaction_read_only": "@@tx_read_only", "super_read_only": "0",
	},
	Unknown: []string{"tx_isolation", "tx_read_only", "wsrep_on", "in_transaction"},
}

// OceanBase43 answers like OceanBase 4.3 in MySQL mode.
var OceanBase43 = Flavour{
	Greeting: "5.7.25",
	Expressions: map[string]string{
		"version": "'5.7.25-OceanBase_CE-v4.3.5.1'", "version()": "'5.7.25-OceanBase_CE-v4.3.5.1'", "ob_version()": "'4.3.5.1'",
		"version_comment":           "'OceanBase_CE 4.3.5.1 (r101000042025031818)'",
		"transaction_isolation":     "@@tx_isolation",
		"transaction_read_only":     "@@tx_read_only",
		"auto_increment_cache_size": "1000000",
		"ob_query_timeout":          settable("ob_query_timeout", "10000000"),
		"ob_trx_timeout":            settable("ob_trx_timeout", "86400000000"),
		"ob_trx_idle_timeout":       settable("ob_trx_idle_timeout", "86400000000"),
		"ob_trx_lock_timeout":       settable("ob_trx_lock_timeout", "-1"),
	},
	Unknown: []string{"wsrep_on", "innodb_flush_log_at_trx_commit", "in_transaction"},
}

// settable is what a client set a variable to that MariaDB does not have.
func settable(name, otherwise string) string { return "COALESCE(@" + name + ", " + otherwise + ")" }

// With is the flavour with other expressions on top: a variable of another value, say.
func (f Flavour) With(expressions map[string]string) Flavour {
	merged := maps.Clone(f.Expressions)
	maps.Copy(merged, expressions)
	f.Expressions = merged
	return f
}

// Pretend has the server look like another product from the next connection on. It changes names, not behaviour.
func (p *Proxy) Pretend(f Flavour) {
	p.mu.Lock()
	p.version = f.Greeting
	p.mu.Unlock()
	p.Translate(f.translate)
}

var (
	// asked is a system variable or a function without arguments in an expression.
	asked = regexp.MustCompile(`(?i)@@(?:(?:global|session|local)\s*\.\s*)?([a-z_0-9]+)|\b([a-z_0-9]+)\(\s*\)`)
	// assigned is a system variable that is set without @@, with its scope.
	assigned = regexp.MustCompile(`(?i)((?:\b(?:GLOBAL|SESSION|LOCAL)\s+)?)\b([a-z_0-9]+)(\s*:?=)`)
	shown    = regexp.MustCompile(`(?i)^\s*SHOW\s+(?:(GLOBAL|SESSION|LOCAL)\s+)?VARIABLES(?:\s+(LIKE))?`)
)

// unknownToServer makes the server answer with its own error about a variable.
const unknownToServer = "unknown_here_"

func (f Flavour) translate(text string) string {
	if parts := shown.FindStringSubmatchIndex(text); parts != nil {
		return f.show(text, parts)
	}
	setting := Statement{Text: text}.Kind() == "SET"
	text = asked.ReplaceAllStringFunc(text, func(found string) string {
		parts := asked.FindStringSubmatch(found)
		name := strings.ToLower(parts[1])
		if parts[2] != "" {
			name = strings.ToLower(parts[2]) + "()"
		}
		switch expression, ok := f.Expressions[name]; {
		case ok:
			return expression
		case slices.Contains(f.Unknown, name):
			return "@@" + unknownToServer + name
		}
		return found
	})
	if !setting {
		return text
	}
	return assigned.ReplaceAllStringFunc(text, func(found string) string {
		parts := assigned.FindStringSubmatch(found)
		scope, name, equals := parts[1], strings.ToLower(parts[2]), parts[3]
		expression, known := f.Expressions[name]
		alias, isAlias := strings.CutPrefix(expression, "@@")
		switch {
		case isAlias:
			return scope + alias + equals
		case known:
			return "@" + name + equals
		case slices.Contains(f.Unknown, name):
			return scope + unknownToServer + name + equals
		}
		return found
	})
}

// show is SHOW VARIABLES with the flavour's variables and without those it does not know.
func (f Flavour) show(text string, parts []int) string {
	table := "SESSION_VARIABLES"
	if parts[2] >= 0 && strings.EqualFold(text[parts[2]:parts[3]], "GLOBAL") {
		table = "GLOBAL_VARIABLES"
	}
	hidden := slices.Clone(f.Unknown)
	more := ""
	for _, name := range slices.Sorted(maps.Keys(f.Expressions)) {
		if !strings.HasSuffix(name, "()") {
			hidden = append(hidden, name)
			more += " UNION ALL SELECT '" + name + "', " + f.Expressions[name]
		}
	}
	out := "SELECT * FROM (SELECT LOWER(VARIABLE_NAME) AS Variable_name, VARIABLE_VALUE AS Value FROM information_schema." + table +
		" WHERE LOWER(VARIABLE_NAME) NOT IN ('" + strings.Join(hidden, "', '") + "')" + more + ") AS shown"
	if parts[4] >= 0 {
		out += " WHERE Variable_name LIKE"
	}
	return out + text[parts[1]:]
}
