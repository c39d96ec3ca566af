package volume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/kubelet/objects"
)

type tokenKey struct {
	pod      types.UID
	audience string
	lifetime time.Duration
}

type tokenEntry struct {
	objects.Token
	due time.Time
}

// maxTokenAge is when a token is replaced however long it would live.
const maxTokenAge = 24 * time.Hour

// token returns a pod's token and when it should be asked for again: after four fifths of its life. A token that cannot be
// renewed is used as long as it lives.
func (k *Keeper) token(ctx context.Context, pod *corev1.Pod, audience string, lifetime time.Duration) (string, time.Time, error) {
	key := tokenKey{pod.UID, audience, lifetime}
	now := k.Now()
	k.mu.Lock()
	entry, ok := k.tokens[key]
	k.mu.Unlock()
	if ok && now.Before(entry.due) {
		return entry.Value, entry.due, nil
	}
	token, err := k.Source.Token(ctx, pod, audience, lifetime)
	if err != nil {
		if ok && now.Before(entry.Expires) {
			k.Logger.Warn("cannot renew token", "pod", pod.Namespace+"/"+pod.Name, "err", err)
			return entry.Value, now.Add(tokenRetry), nil
		}
		return "", time.Time{}, err
	}
	life := token.Expires.Sub(now)
	entry = tokenEntry{token, now.Add(min(life*4/5, maxTokenAge))}
	k.mu.Lock()
	k.tokens[key] = entry
	k.mu.Unlock()
	return entry.Value, entry.due, nil
}

const tokenRetry = 30 * time.Second

func (k *Keeper) forgetTokens(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.tokens {
		if key.pod == uid {
			delete(k.tokens, key)
		}
	}
}
