package cache

// audience finds the watchers that an event concerns. Each watcher is in exactly one of the narrow sets.
type audience struct {
	all         set // every watcher, for bookmarks and the end
	wide        set
	byNamespace map[string]set
	byKey       map[string]set
	byField     map[string]map[string]set
}

type set map[*Watcher]struct{}

func (x *audience) init() {
	x.all, x.wide = set{}, set{}
	x.byNamespace, x.byKey = map[string]set{}, map[string]set{}
	x.byField = map[string]map[string]set{}
}

// narrow says which map and which key of it holds a watcher; nil for the wide ones. The most selective wins.
func (x *audience) narrow(w *Watcher, create bool) (map[string]set, string) {
	switch {
	case w.opts.Exact:
		return x.byKey, w.opts.Prefix
	case w.opts.Field != "":
		values := x.byField[w.opts.Field]
		if values == nil && create {
			values = map[string]set{}
			x.byField[w.opts.Field] = values
		}
		return values, w.opts.Value
	case w.opts.Prefix != "":
		return x.byNamespace, w.opts.Prefix
	}
	return nil, ""
}

func (x *audience) add(w *Watcher) {
	x.all[w] = struct{}{}
	sets, key := x.narrow(w, true)
	if sets == nil {
		x.wide[w] = struct{}{}
		return
	}
	if sets[key] == nil {
		sets[key] = set{}
	}
	sets[key][w] = struct{}{}
}

func (x *audience) remove(w *Watcher) {
	if _, ok := x.all[w]; !ok {
		return
	}
	delete(x.all, w)
	sets, key := x.narrow(w, false)
	if sets == nil {
		delete(x.wide, w)
		return
	}
	delete(sets[key], w)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
	if w.opts.Field != "" && !w.opts.Exact && len(sets) == 0 {
		delete(x.byField, w.opts.Field)
	}
}

func (x *audience) deliver(e *event) {
	x.wide.push(e)
	if len(x.byKey) > 0 {
		x.byKey[e.entry.key].push(e)
	}
	if len(x.byNamespace) > 0 {
		if namespace := e.entry.Namespace(); namespace != "" {
			x.byNamespace[namespace+"/"].push(e)
		}
	}
	for field, values := range x.byField {
		x.deliverField(e, field, values)
	}
}

// deliverField reaches the watchers of the value that the field has, and of the one it had.
func (x *audience) deliverField(e *event, field string, values map[string]set) {
	value := ""
	if e.kind != Deleted {
		value = e.entry.Fields()[field]
		values[value].pushWithin(e)
	}
	if e.prev != nil {
		if had := e.prev.Fields()[field]; e.kind == Deleted || had != value {
			values[had].pushWithin(e)
		}
	}
}

func (s set) push(e *event) {
	for w := range s {
		w.push(e)
	}
}

// pushWithin also holds the watcher's key prefix against the event.
func (s set) pushWithin(e *event) {
	for w := range s {
		if w.wants(e) {
			w.push(e)
		}
	}
}
