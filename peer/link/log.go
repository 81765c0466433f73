package link

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// levelTrace is where pion's lines go: they hold addresses, which no log at debug or above may.
const levelTrace = slog.LevelDebug - 4

// newLoggerFactory returns a factory whose loggers write to log at levelTrace. If log is not enabled there, all scopes
// share one silent logger: loggers were a tenth of a PeerConnection's memory.
func newLoggerFactory(log *slog.Logger) logging.LoggerFactory {
	if !log.Enabled(context.Background(), levelTrace) {
		return silent{}
	}
	return pionLog{log: log}
}

type silent struct{}

func (silent) NewLogger(string) logging.LeveledLogger { return silent{} }
func (silent) Trace(string)                           {}
func (silent) Tracef(string, ...any)                  {}
func (silent) Debug(string)                           {}
func (silent) Debugf(string, ...any)                  {}
func (silent) Info(string)                            {}
func (silent) Infof(string, ...any)                   {}
func (silent) Warn(string)                            {}
func (silent) Warnf(string, ...any)                   {}
func (silent) Error(string)                           {}
func (silent) Errorf(string, ...any)                  {}

// pionLog adapts slog to pion's interface.
type pionLog struct{ log *slog.Logger }

func (p pionLog) NewLogger(scope string) logging.LeveledLogger {
	return pionLog{log: p.log.With(slog.String("pion", scope))}
}

func (p pionLog) line(level, msg string) {
	p.log.LogAttrs(context.Background(), levelTrace, msg, slog.String("pion_level", level))
}

func (p pionLog) Trace(msg string)          { p.line("trace", msg) }
func (p pionLog) Tracef(f string, a ...any) { p.line("trace", fmt.Sprintf(f, a...)) }
func (p pionLog) Debug(msg string)          { p.line("debug", msg) }
func (p pionLog) Debugf(f string, a ...any) { p.line("debug", fmt.Sprintf(f, a...)) }
func (p pionLog) Info(msg string)           { p.line("info", msg) }
func (p pionLog) Infof(f string, a ...any)  { p.line("info", fmt.Sprintf(f, a...)) }
func (p pionLog) Warn(msg string)           { p.line("warn", msg) }
func (p pionLog) Warnf(f string, a ...any)  { p.line("warn", fmt.Sprintf(f, a...)) }
func (p pionLog) Error(msg string)          { p.line("error", msg) }
func (p pionLog) Errorf(f string, a ...any) { p.line("error", fmt.Sprintf(f, a...)) }
