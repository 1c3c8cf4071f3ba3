package mysqlproxy

import (
	"regexp"
	"strings"
)

// Phase is what a client does with a statement.
type Phase int

// The phases. Rules are about executing unless they say otherwise.
const (
	// Executing is a query, or a prepared statement with its arguments.
	Executing Phase = iota
	// Preparing is a statement that is not executed yet.
	Preparing
	// Connecting is everything from the first byte to the answer to the password. There is no text.
	Connecting
)

func (p Phase) String() string { return [...]string{"execute", "prepare", "connect"}[p] }

// Statement is what a client asks for.
type Statement struct {
	// Text is the statement as the client wrote it. A prepared statement's arguments are not in it.
	Text  string
	Phase Phase
	// Prepared says that what is executed was prepared before.
	Prepared bool
	// Connection numbers the proxy's connections from 1.
	Connection int64
}

// beforeWord is what may stand before a statement's first word.
var beforeWord = regexp.MustCompile(`^(?:[\s(]|/\*(?s:.*?)\*/|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$))*`)

// word is a statement's first word.
var word = regexp.MustCompile(`^[A-Za-z]+`)

// Kind is the statement's first word in capitals.
func (s Statement) Kind() string {
	text := s.Text[len(beforeWord.FindString(s.Text)):]
	return strings.ToUpper(word.FindString(text))
}

// writing are the statements that a read-only server refuses.
var writing = map[string]bool{"INSERT": true, "UPDATE": true, "DELETE": true, "REPLACE": true, "LOAD": true, "CREATE": true,
	"ALTER": true, "DROP": true, "TRUNCATE": true, "RENAME": true, "OPTIMIZE": true, "GRANT": true, "REVOKE": true}

// locking is a SELECT that locks what it reads.
var locking = regexp.MustCompile(`(?i)\b(?:FOR\s+UPDATE|FOR\s+SHARE|LOCK\s+IN\s+SHARE\s+MODE)\b`)

// Writes tells whether a read-only server refuses the statement, which some do with SELECT … FOR UPDATE too.
func (s Statement) Writes() bool {
	kind := s.Kind()
	return writing[kind] || (kind == "SELECT" || kind == "WITH") && locking.MatchString(s.Text)
}

// Contains matches statements with a text in them, whatever the case.
func Contains(text string) func(Statement) bool {
	text = strings.ToUpper(text)
	return func(s Statement) bool { return strings.Contains(strings.ToUpper(s.Text), text) }
}

// OfKind matches statements by their first word.
func OfKind(kinds ...string) func(Statement) bool {
	return func(s Statement) bool {
		kind := s.Kind()
		for _, k := range kinds {
			if strings.EqualFold(k, kind) {
				return true
			}
		}
		return false
	}
}

// Both matches what two others match.
func Both(a, b func(Statement) bool) func(Statement) bool {
	return func(s Statement) bool { return a(s) && b(s) }
}
