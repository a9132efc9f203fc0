package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is a command line that cannot be meant.
type usageError struct {
	msg, hint string
}

func (e *usageError) Error() string { return e.msg }
func (e *usageError) Hint() string  { return e.hint }

// Usage refuses a command line.
func Usage(c *cobra.Command, format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...), hint: c.CommandPath() + " --help"}
}

// NoArgs are the arguments of a command that takes none.
func NoArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return Usage(c, "%s takes no argument, and %q is one", c.Name(), args[0])
}

// Subcommand are the arguments of a command that has others below it, where none of
// them was meant.
func Subcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2 // a slip of one letter in a short verb is two steps away
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return Usage(c, "unknown command %q: did you mean %s?", args[0], near[0])
	}
	return Usage(c, "unknown command %q", args[0])
}

// wants says of a type of flags what its values look like.
var wants = map[string]string{
	"bool":     "true or false",
	"count":    "a whole number",
	"int":      "a whole number",
	"duration": "a duration, such as 90s, 5m or 1h30m",
}

// flagError words what pflag says of a command line.
func flagError(c *cobra.Command, err error) error {
	if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) {
		if want := wants[invalid.GetFlag().Value.Type()]; want != "" {
			return Usage(c, "--%s=%s: want %s", invalid.GetFlag().Name, invalid.GetValue(), want)
		}
	}
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		names := &cobra.Command{SuggestionsMinimumDistance: 2}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
			}
		})
		if near := names.SuggestionsFor(unknown.GetSpecifiedName()); len(near) > 0 {
			return Usage(c, "unknown flag: --%s: did you mean --%s?", unknown.GetSpecifiedName(), near[0])
		}
	}
	return Usage(c, "%s", err)
}
