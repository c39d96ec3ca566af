package owned

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestHistory walks one owner through edits and a roll-back, carrying each decision out.
func TestHistory(t *testing.T) {
	o := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", UID: "u"}}
	var there []*appsv1.ControllerRevision
	edit := func(content string, inUse ...string) string {
		used := map[string]bool{}
		for _, name := range inUse {
			used[name] = true
		}
		h := Past{Owner: o, Kind: appsv1.SchemeGroupVersion.WithKind("StatefulSet"), Content: []byte(content), Labels: map[string]string{"app": "db"},
			Revisions: there, InUse: used, Limit: ptr.To[int32](2)}.Decide()
		if h.Create != nil {
			there = append(there, h.Create)
		}
		for i, r := range there {
			if h.Update != nil && r.Name == h.Update.Name {
				there[i] = h.Update
			}
		}
		for _, gone := range h.Delete {
			for i, r := range there {
				if r.Name == gone.Name {
					there = append(there[:i:i], there[i+1:]...)
					break
				}
			}
		}
		var out []string
		for _, r := range there {
			mark := ""
			if r.Name == h.Current {
				mark = "*"
			}
			out = append(out, fmt.Sprintf("%s=%d%s", r.Data.Raw, r.Revision, mark))
		}
		return strings.Join(out, " ")
	}
	first := ""
	for _, step := range []struct{ content, want string }{
		{"a", "a=1*"},
		{"a", "a=1*"},
		{"b", "a=1 b=2*"},
		{"c", "a=1 b=2 c=3*"},
		{"a", "a=4* b=2 c=3"}, // a roll-back is the newest again
		{"d", "a=4 c=3 d=5*"}, // and two are kept besides
	} {
		if got := edit(step.content); got != step.want {
			t.Errorf("edit to %s: got %s, want %s", step.content, got, step.want)
		}
		if first == "" {
			first = there[0].Name
		}
	}
	if got := edit("e", there[1].Name); got != "a=4 c=3 d=5 e=6*" {
		t.Errorf("with c in use: got %s, want it kept besides", got)
	}
	if r := there[0]; r.Name != first || r.Labels[HashLabel] != strings.TrimPrefix(first, "db-") || r.Labels["app"] != "db" || !metav1.IsControlledBy(r, o) {
		t.Errorf("revision: got %+v", r.ObjectMeta)
	}
}

func TestCollisionsChangeTheHash(t *testing.T) {
	template := &corev1.PodTemplateSpec{}
	if TemplateHash(template, nil) == TemplateHash(template, ptr.To[int32](1)) {
		t.Error("a collision leaves the hash as it was")
	}
}
