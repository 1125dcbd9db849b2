package resp

// runHelp lists the subcommands of a container, off its rows.
func runHelp(c *conn, q *request) {
	container := q.cmd.container
	lines := []string{upper(container.name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
	for _, sub := range container.subs {
		title := upper(sub.name)
		if sub.args != "" {
			title += " " + sub.args
		}
		lines = append(lines, title, "    "+sub.summary)
	}
	c.out.array(len(lines))
	for _, line := range lines {
		c.out.simple(line)
	}
}
