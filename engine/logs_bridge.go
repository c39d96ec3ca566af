package engine

import (
	"context"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// BridgeLogs sends what containerd's and BuildKit's libraries log to logger. They log through a logger of the whole process, so the
// composition root calls this once. Their "info" and "warning" are our debug: they report what they also return, or what is harmless.
func BridgeLogs(logger *slog.Logger) {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.InfoLevel)
	if logger.Enabled(context.Background(), slog.LevelDebug) {
		logrus.SetLevel(logrus.DebugLevel)
	}
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(bridge{logger})
}

type bridge struct{ logger *slog.Logger }

func (bridge) Levels() []logrus.Level { return logrus.AllLevels }

func (b bridge) Fire(entry *logrus.Entry) error {
	level := slog.LevelDebug
	if entry.Level <= logrus.ErrorLevel {
		level = slog.LevelWarn
	}
	attrs := make([]slog.Attr, 0, len(entry.Data)+1)
	attrs = append(attrs, slog.String("library", "containerd"))
	for key, value := range entry.Data {
		if key == logrus.ErrorKey {
			key = "err"
		}
		attrs = append(attrs, slog.Any(key, value))
	}
	b.logger.LogAttrs(context.Background(), level, entry.Message, attrs...)
	return nil
}
