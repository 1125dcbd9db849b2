package resp

import (
	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// Who a connection speaks for. Users are those of all three protocols, and what their roles allow is core's business: a
// command on a key that the user may not touch is refused there. Here is how a user comes in, and what is refused to
// those who have not, while authentication is on. While it is off there is one user, default, whom any password lets in,
// as in a Redis without passwords.

// defaultUser is whom AUTH means when it names nobody.
const defaultUser = "default"

const (
	errNoAuth      = "NOAUTH Authentication required."
	errNoAuthHello = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH " +
		"<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
	errNoPassword = "ERR AUTH <password> called without any password configured for the default user. Are you sure your " +
		"configuration is correct?"
	errNoPermKey = "NOPERM No permissions to access a key"
)

// everyKey is the range of all keys.
var everyKey = []byte{0}

// refusal says why a command is not for whoever the connection speaks for; empty when it is.
func (c *conn) refusal(cmd *command) string {
	if enabled, _ := c.srv.store.AuthEnabled(); !enabled || cmd.flags&flagNoAuth != 0 {
		return ""
	}
	if c.caller == nil {
		return errNoAuth
	}
	if cmd.flags&flagAdmin != 0 && !c.may((*core.View).PermitRoot) {
		return "NOPERM User " + c.caller.User + " has no permissions to run the '" + cmd.fullName + "' command"
	}
	return ""
}

// may asks this node's state about the caller.
func (c *conn) may(permitted func(*core.View) error) bool {
	view, err := c.srv.store.View(c.srv.ctx, core.Local)
	if err != nil {
		return false
	}
	defer view.Close()
	view.As(c.caller)
	return permitted(view) == nil
}

// login checks a password and answers what is wrong; empty when the connection speaks for the user from here on.
func (c *conn) login(user, password []byte) (errText string) {
	if enabled, _ := c.srv.store.AuthEnabled(); !enabled {
		if string(user) != defaultUser {
			return errWrongPass
		}
		return ""
	}
	if _, err := c.srv.store.CheckPassword(c.srv.ctx, string(user), string(password)); err != nil {
		return errorText(err)
	}
	c.closeView() // what is read from here on is read by another
	c.caller = &corepb.Caller{User: string(user), AuthRevision: core.AuthRevisionAny}
	c.public.seesKeys.Store(c.may(func(view *core.View) error { return view.Permit(everyKey, everyKey, false) }))
	return ""
}

// maySee says whether the caller may be told of every change of keys with these prefixes.
func (c *conn) maySee(prefixes []string) bool {
	if enabled, _ := c.srv.store.AuthEnabled(); !enabled {
		return true
	}
	return c.may(func(view *core.View) error {
		for _, prefix := range prefixes {
			key, end := []byte(prefix), prefixEnd(prefix)
			if prefix == "" {
				key = everyKey
			}
			if err := view.Permit(key, end, false); err != nil {
				return err
			}
		}
		return nil
	})
}

// logout makes the connection speak for nobody.
func (c *conn) logout() {
	c.closeView()
	c.caller = nil
	c.public.seesKeys.Store(false)
}

func runAuth(c *conn, q *request) {
	enabled, _ := c.srv.store.AuthEnabled()
	user, password := []byte(defaultUser), q.args[1]
	switch {
	case len(q.args) > 3:
		c.out.err(errSyntax)
		return
	case len(q.args) == 3:
		user, password = q.args[1], q.args[2]
	case !enabled:
		c.out.err(errNoPassword)
		return
	}
	if text := c.login(user, password); text != "" {
		c.out.err(text)
		return
	}
	c.out.ok()
}
