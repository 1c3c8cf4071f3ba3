package member

// StopViewsIn ends all views of one member; a later Member.View begins anew. It is for when somebody may not look there
// any more: who still may, asks again.
func (f *Fleet) StopViewsIn(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[name]
	if e == nil {
		return
	}
	for gvr := range e.kinds {
		delete(e.kinds, gvr)
		if e.member != nil {
			e.member.stopView(gvr)
		}
	}
}
