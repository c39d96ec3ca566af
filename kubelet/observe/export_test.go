package observe

// LogTail is for the tests.
func LogTail(text string) string { return logTail(text) }
