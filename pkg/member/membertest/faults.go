package membertest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is a way in which a member can be bad while it says that it is well.
type Fault struct {
	// Name tells it in a few words.
	Name string
	// serve answers instead of the member. It returns false for what the member itself should answer.
	serve func(w http.ResponseWriter, r *http.Request) bool
}

// Hostile stands before a member and answers in its place as a fault wants it. Health and version are the member's own.
type Hostile struct {
	next http.Handler

	mu       sync.Mutex
	fault    *Fault
	requests map[string]int
}

// NewHostile stands before a member that answers as it should until it is given a fault.
func NewHostile(next http.Handler) *Hostile { return &Hostile{next: next, requests: map[string]int{}} }

// Set gives the member a fault; nil = none.
func (h *Hostile) Set(f *Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = f
}

// Requests tells how many requests have come so far: "list", "watch", "get", "write", "health" or "other".
func (h *Hostile) Requests() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]int{}
	for what, n := range h.requests {
		out[what] = n
	}
	return out
}

// ServeHTTP implements http.Handler.
func (h *Hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := sort(r)
	h.mu.Lock()
	h.requests[what]++
	fault := h.fault
	h.mu.Unlock()
	if fault == nil || what == "health" || !fault.serve(w, r) {
		h.next.ServeHTTP(w, r)
	}
}

func sort(r *http.Request) string {
	switch {
	case r.URL.Path == "/healthz" || r.URL.Path == "/version":
		return "health"
	case r.Method != http.MethodGet:
		return "write"
	case r.URL.Query().Get("watch") != "":
		return "watch"
	case r.URL.Query().Get("labelSelector") != "":
		return "list"
	case strings.Contains(r.URL.Path, "/namespaces/"):
		return "get"
	}
	return "other"
}

// FaultNamed finds a fault; nil = there is none of that name.
func FaultNamed(name string) *Fault {
	for _, f := range Faults() {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Faults are all of them.
func Faults() []*Fault {
	lists := func(name string, serve func(w http.ResponseWriter, r *http.Request, p path)) *Fault {
		return &Fault{name, func(w http.ResponseWriter, r *http.Request) bool {
			if sort(r) != "list" {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			serve(w, r, pathOf(r))
			return true
		}}
	}
	watches := func(name string, serve func(w stream, p path)) *Fault {
		return &Fault{name, func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			switch sort(r) {
			case "list":
				fmt.Fprintf(w, `{"kind":"%sList","apiVersion":"%s","metadata":{"resourceVersion":"1000"},"items":[]}`, pathOf(r).kind, pathOf(r).apiVersion)
			case "watch":
				s := stream{w, r}
				s.flush()
				serve(s, pathOf(r))
			default:
				return false
			}
			return true
		}}
	}
	all := func(name string, serve func(w http.ResponseWriter, r *http.Request)) *Fault {
		return &Fault{name, func(w http.ResponseWriter, r *http.Request) bool { serve(w, r); return true }}
	}
	writes := func(name string, serve func(w http.ResponseWriter)) *Fault {
		return &Fault{name, func(w http.ResponseWriter, r *http.Request) bool {
			if sort(r) != "write" {
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			serve(w)
			return true
		}}
	}
	return append(append(append(everywhere(all), inLists(lists)...), inWatches(watches)...), inWrites(writes)...)
}

func everywhere(all func(string, func(http.ResponseWriter, *http.Request)) *Fault) []*Fault {
	refuse := func(code int, after string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(code)
			fmt.Fprintf(w, "no %d", time.Now().UnixNano()) // each refusal in other words
		}
	}
	return []*Fault{
		all("429, come at once", refuse(http.StatusTooManyRequests, "0")),
		all("429, come tomorrow", refuse(http.StatusTooManyRequests, "86400")),
		all("500", refuse(http.StatusInternalServerError, "")),
		all("the kind is lacking", refuse(http.StatusNotFound, "")),
		all("503, come at once", refuse(http.StatusServiceUnavailable, "0")),
		all("no answer", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}),
		all("one byte a second", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			for i := 0; ; i++ {
				if _, err := io.WriteString(w, `{"kind":"Slow","items":[`[i%24:i%24+1]); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Second):
				}
			}
		}),
		all("a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}),
		all("a giant header", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 1000 {
				w.Header().Add("Warning", fmt.Sprintf(`299 - "%d %s"`, i, strings.Repeat("x", 900)))
			}
			w.WriteHeader(http.StatusOK)
		}),
		all("a page of HTML", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html><body>Please log in</body></html>")
		}),
		all("bytes without end", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			block := strings.Repeat("x", 64<<10)
			for _, err := io.WriteString(w, `{"kind":"`); err == nil; {
				_, err = io.WriteString(w, block)
			}
		}),
	}
}

func inLists(lists func(string, func(http.ResponseWriter, *http.Request, path)) *Fault) []*Fault {
	head := func(w io.Writer, p path, next string) {
		fmt.Fprintf(w, `{"kind":"%sList","apiVersion":"%s","metadata":{"resourceVersion":"1000","continue":"%s"},"items":[`, p.kind, p.apiVersion, next)
	}
	one := func(name, raw string) *Fault {
		return lists(name, func(w http.ResponseWriter, _ *http.Request, p path) {
			head(w, p, "")
			fmt.Fprint(w, strings.NewReplacer("APIVERSION", p.apiVersion, "KIND", p.kind).Replace(raw), "]}")
		})
	}
	return []*Fault{
		lists("pages without end", func(w http.ResponseWriter, r *http.Request, p path) {
			page, _ := strconv.Atoi(r.URL.Query().Get("continue"))
			head(w, p, strconv.Itoa(page+1))
			for i := range 500 {
				if i > 0 {
					_, _ = io.WriteString(w, ",")
				}
				_, _ = io.WriteString(w, p.object(fmt.Sprintf("o-%d-%d", page, i), 900, strings.Repeat("x", 1000)))
			}
			_, _ = io.WriteString(w, "]}")
		}),
		lists("a list without end", func(w http.ResponseWriter, _ *http.Request, p path) {
			head(w, p, "")
			_, err := io.WriteString(w, p.object("first", 900, ""))
			for i := 0; err == nil; i++ {
				_, err = io.WriteString(w, ","+p.object(fmt.Sprintf("o-%d", i), 900, strings.Repeat("x", 1000)))
			}
		}),
		lists("strangers without end", func(w http.ResponseWriter, _ *http.Request, p path) {
			head(w, p, "")
			stranger := strings.Replace(p.object("first", 900, strings.Repeat("x", 1000)), "kubefed.io/managed", "other", 1)
			_, err := io.WriteString(w, stranger)
			for err == nil {
				_, err = io.WriteString(w, ","+stranger)
			}
		}),
		lists("the same page again", func(w http.ResponseWriter, _ *http.Request, p path) {
			head(w, p, "again")
			_, _ = io.WriteString(w, "]}")
		}),
		one("a dense object", `{"apiVersion":"APIVERSION","kind":"KIND","metadata":{"namespace":"n","name":"dense","uid":"1","resourceVersion":"9","labels":{"kubefed.io/managed":"true"}},"data":[`+
			strings.Repeat(`{"a":{}},`, 400_000)+`{}]}`),
		one("an object of another kind", `{"apiVersion":"v1","kind":"Secret","metadata":{"namespace":"n","name":"s","uid":"1","resourceVersion":"9","labels":{"kubefed.io/managed":"true"}}}`),
		one("an object without a name", `{"apiVersion":"APIVERSION","kind":"KIND","metadata":{"namespace":"n","uid":"1","resourceVersion":"9","labels":{"kubefed.io/managed":"true"}}}`),
		one("an object without a UID", `{"apiVersion":"APIVERSION","kind":"KIND","metadata":{"namespace":"n","name":"o","resourceVersion":"9","labels":{"kubefed.io/managed":"true"}}}`),
		one("labels that are no words", `{"apiVersion":"APIVERSION","kind":"KIND","metadata":{"namespace":"n","name":"o","uid":"1","resourceVersion":"9","labels":{"kubefed.io/managed":"true","x":1}}}`),
		one("an object that is none", `17`),
		lists("half a list", func(w http.ResponseWriter, _ *http.Request, p path) {
			head(w, p, "")
			_, _ = io.WriteString(w, p.object("only", 900, ""))
		}),
		lists("another sort of answer", func(w http.ResponseWriter, _ *http.Request, _ path) {
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}`)
		}),
	}
}

func inWatches(watches func(string, func(stream, path)) *Fault) []*Fault {
	return []*Fault{
		watches("a watch that ends at once", func(stream, path) {}),
		watches("a watch that expired at once", func(w stream, _ path) {
			w.say("ERROR", `{"kind":"Status","apiVersion":"v1","status":"Failure","code":410,"reason":"Expired","message":"too old"}`)
		}),
		watches("a watch back in time", func(w stream, p path) {
			for v := 1010; w.r.Context().Err() == nil && v > 900; v -= 3 {
				w.say("MODIFIED", p.object("o", v, strconv.Itoa(v)))
			}
		}),
		watches("the same event without end", func(w stream, p path) {
			for w.say("MODIFIED", p.object("o", 1001, "same")) {
				continue
			}
		}),
		watches("changes without end", func(w stream, p path) {
			for v := 1001; w.say("MODIFIED", p.object("o", v, strconv.Itoa(v))); v++ {
				continue
			}
		}),
		watches("new objects without end", func(w stream, p path) {
			for v := 1001; w.say("ADDED", p.object(fmt.Sprintf("o-%d", v), v, strings.Repeat("x", 1000))); v++ {
				continue
			}
		}),
		watches("events of another kind", func(w stream, p path) {
			w.say("ADDED", strings.Replace(p.object("o", 1001, ""), `"kind":"`+p.kind, `"kind":"Secret`, 1))
			w.wait()
		}),
		watches("events that are none", func(w stream, _ path) {
			_, _ = io.WriteString(w.w, "<html>\n")
			w.flush()
			w.wait()
		}),
		watches("an event without end", func(w stream, _ path) {
			_, err := io.WriteString(w.w, `{"type":"ADDED","object":{"data":"`)
			for block := strings.Repeat("x", 64<<10); err == nil; {
				_, err = io.WriteString(w.w, block)
			}
		}),
		watches("half an event", func(w stream, _ path) {
			_, _ = io.WriteString(w.w, `{"type":"ADDED","object":{"data":"`)
			w.flush()
			w.wait()
		}),
		watches("events of no type", func(w stream, p path) {
			w.say("CHANGED", p.object("o", 1001, ""))
			w.wait()
		}),
		watches("a bookmark without a version", func(w stream, p path) {
			w.say("BOOKMARK", fmt.Sprintf(`{"kind":"%s","apiVersion":"%s","metadata":{}}`, p.kind, p.apiVersion))
			w.wait()
		}),
	}
}

func inWrites(writes func(string, func(http.ResponseWriter)) *Fault) []*Fault {
	return []*Fault{
		writes("writes answered with another object", func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, path{"ConfigMap", "v1"}.object("other", 1, ""))
		}),
		writes("writes answered without end", func(w http.ResponseWriter) {
			block := strings.Repeat("x", 64<<10)
			for _, err := io.WriteString(w, `{"kind":"`); err == nil; {
				_, err = io.WriteString(w, block)
			}
		}),
		writes("writes answered with nonsense", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "welcome") }),
		writes("writes refused", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":"no %d"}`, time.Now().UnixNano())
		}),
	}
}

// path is what a request is about.
type path struct{ kind, apiVersion string }

func pathOf(r *http.Request) path {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource := parts[len(parts)-1]
	kind := map[string]string{"configmaps": "ConfigMap", "widgets": "Widget", "deployments": "Deployment"}[resource]
	if parts[0] == "api" {
		return path{kind, parts[1]}
	}
	return path{kind, strings.Join(parts[1:3], "/")}
}

func (p path) object(name string, version int, value string) string {
	return fmt.Sprintf(`{"apiVersion":"%s","kind":"%s","metadata":{"namespace":"n","name":"%s","uid":"uid-%s","resourceVersion":"%d","labels":{"kubefed.io/managed":"true"}},"data":{"value":"%s"}}`,
		p.apiVersion, p.kind, name, name, version, value)
}

// stream is a watch.
type stream struct {
	w http.ResponseWriter
	r *http.Request
}

func (s stream) say(kind, object string) bool {
	_, err := fmt.Fprintf(s.w, `{"type":"%s","object":%s}`+"\n", kind, object)
	s.flush()
	return err == nil && s.r.Context().Err() == nil
}

func (s stream) flush() { s.w.(http.Flusher).Flush() }
func (s stream) wait()  { <-s.r.Context().Done() }
