package etcd

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo makes a zap logger that passes errors on and drops all else: etcd tells at length how well it is.
// Where etcd would end the process it panics instead, so that start can say which files it could not live with.
func zapTo(log *slog.Logger) *zap.Logger {
	return zap.New(bridge{log: log}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

type bridge struct{ log *slog.Logger }

func (b bridge) Enabled(level zapcore.Level) bool { return level >= zapcore.ErrorLevel }

func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{log: b.log.With(attributes(fields)...)}
}

// harmless is what etcd calls an error on every new data directory: it looks for its schema's version before its first entry is applied, and finds
// it a moment later.
const harmless = "failed to update storage version"

func (b bridge) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(entry.Level) && entry.Message != harmless {
		return checked.AddCore(entry, b)
	}
	return checked
}

func (b bridge) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	b.log.Log(context.Background(), slog.LevelError, "etcd", append([]any{"said", entry.Message}, attributes(fields)...)...)
	return nil
}

func (b bridge) Sync() error { return nil }

// attributes lets zap encode the fields, since it knows their kinds, and takes the result over.
func attributes(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	var out []any
	for _, f := range fields {
		if value, ok := encoder.Fields[f.Key]; ok {
			out = append(out, f.Key, value)
			delete(encoder.Fields, f.Key)
		}
	}
	return out
}
