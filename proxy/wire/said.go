package wire

import (
	"strings"
	"unicode"
)

// maxSaid is how many bytes of what another process says are told on.
const maxSaid = 512

// Said is what another process says, fit for a status and a log.
func Said(words string) string {
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, words[:min(len(words), maxSaid)]), "")
}
