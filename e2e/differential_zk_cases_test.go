package e2e

import "strings"

// zkByDesign lists what differs from ZooKeeper 3.8.0 on purpose, and is therefore asked nowhere below: ACLs other than
// the open one (refused), /zookeeper and what is below it (read-only, its Stat zero), data that is null (empty here), the
// time-out of a resumed session (kept), the connection of a session whose password was wrong (not cut), watches of several
// kinds on one path (side by side, as since 3.9.0), records that are cut short (the connection is closed), check outside
// of multi (answered and closed; ZooKeeper says nothing), transaction ids (ZooKeeper counts refused requests and new
// sessions too, so that they are compared by the changes that they name).
var zkCases = []zkCase{
	{"create", `
		create ~/a data p
		create ~/a data p
		create ~/a/b - p
		create ~/none/b - p
		create ~/e eph e
		create ~/e/child - p
		create ~/e/child - e
		create2 ~/a2 data p
		create2 ~/a2 data p
		create2 ~/e2 eph e
		create2 ~/none/b - p
		exists ~/a
		exists ~/e
		get ~/a
		get ~
		children2 ~
		2: get ~/e
		2: create ~/e - p
		create ~/c - 4
		createcontainer ~/cont x c
		get ~/cont
		createcontainer ~/cont x c
		create ~/cont/child - p
		get ~/cont
		createttl ~/ttl x ttl 100000
		get ~/ttl
		createttl ~/ttls x ttls 100000
		createttl ~/bad x ttl 0
		createttl ~/bad x ttl -5
		createttl ~/bad x ttl 1099511627775
		createttl ~/bad2 x ttl 1099511627776
		create ~/mode x 7
		create ~/mode x -1
		create ~/mode x 100
		create / x p
		create2 / x p
	`},
	{"bad paths", `
		create "" x p
		create relative x p
		create ~/ x p
		create ~//x x p
		create ~/./x x p
		create ~/../x x p
		create ~/. x p
		create ~/.. x p
		create "~/nul\x00" x p
		create "~/ctl\x01" x p
		create "~/del\x7f" x p
		create "~/u\u0085" x p
		create "~/u\ue000" x p
		create "~/u\ufff0" x p
		create "~/ü€" x p
		children ~
		delete "" -1
		delete relative -1
		delete / -1
		delete ~/ -1
		set "" x -1
		set relative x -1
		set ~/ x -1
		exists ""
		exists relative
		exists ~/
		exists ~//x
		get ""
		get relative
		get ~/
		children ""
		children ~/
		multi create "" x p
		multi create relative x p ; create ~/x y p
		multi delete "" -1
		multi check relative 0
		sync ""
		sync ~/none
		sync relative
	`},
	{"sequences", `
		create ~/s- a ps
		create ~/s- b ps
		create ~/t- c ps
		create ~/plain x p
		create ~/s- d ps
		delete ~/plain -1
		create ~/s- e ps
		create ~/e- f es
		create2 ~/e- f es
		create ~/ g ps
		create2 ~/s- h ps
		children2 ~
		create /root- x ps
		create2 /root- x es
		exists /
		create ~/sub x p
		create ~/sub/ i ps
		create ~/sub/ j es
		children2 ~/sub
		multi create ~/m- a ps ; create ~/m- b ps ; create ~/n- c es
		multi create ~/m- a ps ; create ~/sub x p
		create ~/m- d ps
		create ~/none/s- x ps
		create ~/s-0000000000/x- - ps
		children2 ~
	`},
	{"delete", `
		create ~/a x p
		set ~/a y -1
		delete ~/a 0
		delete ~/a 2
		delete ~/a -2
		delete ~/a 1
		delete ~/a 1
		delete ~/none -1
		create ~/p x p
		create ~/p/c x p
		delete ~/p -1
		delete ~/p 0
		delete ~/p 5
		delete ~/p/c 0
		get ~/p
		delete ~/p -1
		get ~
	`},
	{"set and versions", `
		create ~/a x p
		set ~/a y 0
		set ~/a z 0
		set ~/a z 1
		set ~/a z -1
		set ~/a z -2
		set ~/a - -1
		set ~/a w 100
		set ~/none x -1
		set ~/none x 0
		get ~/a
		exists ~/a
		exists ~/none
		get ~/none
		children ~/none
		children2 ~/none
		children ~/a
		children2 ~/a
		create ~/a/c x p
		set ~/a v -1
		delete ~/a/c -1
		create ~/a/c x p
		get ~/a
		get ~/a/c
		create ~/e x e
		set ~/e y 0
		get ~/e
		getacl ~/a
		getacl ~/none
		countall ~
		countall ~/none
		ephemerals ~
		ephemerals /nowhere
		2: ephemerals ~
		ping
		sync ~/a
	`},
	{"large data", `
		create ~/a ` + strings.Repeat("x", 900_000) + ` p
		exists ~/a
		set ~/a ` + strings.Repeat("y", 1_000_000) + ` -1
		exists ~/a
		2: create ~/b ` + strings.Repeat("x", 1_100_000) + ` p
		exists ~/b
	`},
	{"multi", `
		multi
		multi create ~/a x p ; create ~/a/b y p ; set ~/a z 0 ; check ~/a 1 ; delete ~/a/b 0
		get ~/a
		multi create2 ~/c2 x p ; set ~/c2 y 0 ; set ~/c2 z 1
		get ~/c2
		multi check ~/a 1
		multi check ~/a 0
		multi check ~/none 0
		multi check ~/a -1
		multi create ~/new x p ; check ~/a 0 ; create ~/new2 x p
		exists ~/new
		multi create ~/new x p ; create ~/new x p
		multi delete ~/a -1 ; create ~/a again e
		get ~/a
		multi delete ~/none -1
		multi set ~/none x -1
		multi set ~/a x 5 ; delete ~/none -1
		multi create ~/x x p ; delete ~/x 0
		exists ~/x
		multi create ~/none/x - p
		multi create ~/p - p ; create ~/p/q - p ; delete ~/p -1
		multi create ~/p - p ; create ~/p/q - e ; create ~/p/q/r - p
		multi createcontainer ~/cont x c ; createttl ~/ttl x ttl 1000 ; create ~/s- x ps ; create ~/e- x es
		multi createttl ~/ttl2 x ttl -1
		multi set ~/c2 one -1 ; set ~/c2 two -1 ; set ~/c2 three 4
		get ~/c2
		get ~
		multiread get ~/c2 ; children ~ ; get ~/none ; children ~/none ; get ~/c2
		multiread
	`},
	{"watches", `
		exists ~/a w
		2: create ~/a x p
		events
		get ~/a w
		exists ~/a w
		2: set ~/a y -1
		events
		2: set ~/a z -1
		events
		get ~/a w
		children ~/a w
		children ~ w
		2: create ~/a/c x p
		events
		2: delete ~/a/c -1
		events
		children ~/a w
		2: delete ~/a -1
		events
		get ~/none w
		children ~/none w
		exists ~/none w
		2: create ~/none x p
		events
		2: delete ~/none -1
		events
		children2 ~ w
		2: set ~ y -1
		events
		2: create ~/q x e
		events
		exists ~/q w
		children ~ w
		2: close
		events
		exists ~/own w
		create ~/own x p
		get ~/own w
		set ~/own y -1
		get ~/own w
		children ~ w
		delete ~/own -1
		get ~ w
		exists ~ w
		get ~ w
		set ~ z -1
		set ~ z -1
	`},
	{"watches and multi", `
		create ~/a x p
		create ~/b x p
		get ~/a w
		get ~/b w
		exists ~/c w
		children ~ w
		2: multi set ~/a y 0 ; delete ~/b 0 ; create ~/c x p ; set ~/c y 0
		events
		exists ~/d w
		children ~ w
		2: multi create ~/d x p ; delete ~/d 0
		events
		exists ~/f w
		2: multi create ~/f x p ; check ~/a 9
		events
		2: create ~/f x p
		events
	`},
	{"persistent watches", `
		addwatch ~/a 0
		addwatch ~/r 1
		2: create ~/a x p
		2: set ~/a y -1
		2: create ~/a/c x p
		2: set ~/a/c y -1
		2: delete ~/a/c -1
		2: delete ~/a -1
		events
		2: create ~/r x p
		2: create ~/r/c x p
		2: create ~/r/c/d x p
		2: set ~/r/c/d y -1
		2: delete ~/r/c/d -1
		2: set ~/r y -1
		events
		addwatch ~/x 2
		addwatch ~/x -1
		checkwatches ~/a 3
		checkwatches ~/none 3
		removewatches ~/a 3
		removewatches ~/a 3
		2: create ~/a x p
		events
		removewatches ~/r 3
		2: set ~/r z -1
		events
		get ~/a w
		children ~/a w
		checkwatches ~/a 1
		checkwatches ~/a 2
		removewatches ~/a 2
		checkwatches ~/a 2
		2: set ~/a y -1
		events
		2: create ~/a/c x p
		events
	`},
	{"setting watches again", `
		create ~/a x p
		create ~/b x p
		create ~/c x p
		create ~/c/d x p
		2: setwatches w0 data=~/a,~/gone exist=~/b,~/none child=~/c,~/gone2
		2: setwatches now data=~/a exist=~/none child=~/c
		2: setwatches now data=~/missing child=~/missing2 exist=~/a
		2: events
		set ~/a y -1
		create ~/none x p
		create ~/c/e x p
		2: events
		2: setwatches now
		3: setwatches2 now data=~/a exist=~/z child=~ persistent=~/b recursive=~/c
		set ~/a z -1
		create ~/z x p
		set ~/b y -1
		set ~/b z -1
		set ~/c/d y -1
		create ~/c/f x p
		3: events
	`},
	{"sessions", `
		create ~/e x e
		create ~/f x es
		2: children ~ w
		2: get ~/e w
		drop
		2: children ~
		3: resume 1
		3: get ~/e
		3: set ~/e y -1
		3: create ~/g x e
		2: events
		2: children2 ~ w
		3: close
		3: closed
		2: events
		2: children2 ~
		4: resume 1
		4: closed
		5: create ~/h x e
		6: steal 5
		6: closed
		7: get ~/h
	`},
	{"time-outs", `
		1: open 100
		2: open 1000000
		3: open 4000
		4: open 40001
		5: open 0
		6: open -1
		7: open 5000 now
		7: closed
		3: create ~/e x e
		3: create ~/p x p
		8: get ~/e w
		8: children ~ w
		3: drop
		8: await
		8: await
		8: children2 ~
		3: resume 3
	`},
	{"a session taken over", `
		create ~/e x e
		get ~/e w
		2: resume 1
		closed
		2: get ~/e
		3: set ~/e y -1
		2: events
		2: delete ~/e -1
		2: close
	`},
	{"closing with ephemerals", `
		create ~/p x p
		create ~/p/e1 x e
		create ~/p/e2 x e
		2: children ~/p w
		2: get ~/p/e1 w
		2: exists ~/p/e2 w
		close
		closed
		2: events
		2: children2 ~/p
		2: children2 ~
	`},
	{"unknown and malformed requests", `
		1: op 999
		1: closed
		2: op 50 00000000
		2: closed
		3: op 26
		3: closed
		5: op 10
		5: closed
		6: op 0
		6: closed
		7: op -1
		7: closed
		8: exists ~
	`},
}
