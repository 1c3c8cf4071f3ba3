package apply

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cellfed/cellfed/pkg/plan"
)

// sameWords is how long a failure's words stay the same while its cause does. A member that words each refusal anew, with a
// time or the name of the request in it, must not have the object's status written for each try.
const sameWords = 5 * time.Minute

// word gives a failure the words of the one before, if they tell of the same cause. What is said of another revision is news.
func (e *line) word(why plan.Why, revision string, now time.Time) plan.Why {
	before := e.failure
	if before != nil && before.Code == why.Code && before.Revision == revision && now.Sub(e.worded) < sameWords && alike(before.Message, why.Message) {
		return before.Why
	}
	e.worded = now
	return why
}

// alike tells whether two messages differ only in words that have digits in them: times, counts and names of requests.
func alike(a, b string) bool { return slices.Equal(plainWords(a), plainWords(b)) }

func plainWords(message string) []string {
	all := strings.FieldsFunc(message, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return slices.DeleteFunc(all, func(word string) bool { return strings.ContainsFunc(word, unicode.IsDigit) })
}
