package config

import (
	"strings"
	"testing"
)

// scheduled is a file with a group "g" and a schedule "s" that has these keys besides its calendar.
func scheduled(keys string) string {
	return "default_repository = \"a\"\n[[repository]]\nid = \"a\"\npath = \"/a\"\n[[group]]\nid = \"g\"\nvms = [\"*\"]\n" +
		"[[schedule]]\nid = \"s\"\ncalendar = \"22:00\"\n" + keys
}

// badFiles are files that must be refused, and the complete error about each.
var badFiles = []struct{ name, text, want string }{
	{"syntax", "[agent", ""},
	{"unknown table", "[sma]\nurl = \"x\"", "sma: unknown key: did you mean sna?"},
	{"key of another table", "[sna]\nno_progress = \"1s\"", "sna.no_progress: unknown key: did you mean deadlines.no_progress?"},
	{"nothing near", "[sna]\nfrobnicate = 1", "sna.frobnicate: unknown key: remove it"},
	{
		"password in the file", "[vcenter.a]\nhost = \"h\"\nuser = \"u\"\npassword = \"secret\"",
		"vcenter.a.password: a password does not belong in this file: put it into /etc/credstore/NAME, readable by root only, and set " +
			"password_credential to NAME",
	},
	{"duration without unit", "[nbd]\nstart_timeout = 30", `nbd.start_timeout: want a duration such as "30s", "10m" or "2h", in quotes`},
	{"duration of nonsense", "[nbd]\nstart_timeout = \"soon\"", `want a duration such as "30s", "10m" or "2h"`},
	{"negative duration", "[nbd]\nstart_timeout = \"-1s\"", `want a duration such as "30s", "10m" or "2h"`},
	{"size without unit", "[space]\nreserve = 1000", `space.reserve: want a size such as "512MiB", "1GiB" or "0B", in quotes`},
	{
		"size of a repository without unit", "[[repository]]\nid = \"a\"\n[[repository]]\nrate_limit = 1",
		`repository.rate_limit: want a size such as "512MiB", "1GiB" or "0B", in quotes`,
	},
	{"size of nonsense", "[space]\nreserve = \"much\"", `want a size such as "512MiB", "1GiB" or "0B"`},
	{"negative size", "[space]\nreserve = \"-1GiB\"", `want a size such as "512MiB", "1GiB" or "0B"`},
	{"huge size", "[space]\nreserve = \"99999999TiB\"", "99999999TiB is more than a file system holds"},
	{"floor above reserve", "[space]\nfloor = \"2GiB\"", "space.floor: 2GiB is more than space.reserve (1GiB): lower it, or raise space.reserve"},
	{"exports", "[limits]\nmax_exports = 102", "limits.max_exports: 102: want 0 to 101, the number of ports"},
	{"backups", "[limits]\nmax_backups = -1", "limits.max_backups: -1: want 0 or more"},
	{"restores", "[limits]\nmax_restores = -1", "limits.max_restores: -1: want 0 or more"},
	{"lifetime", "[restore]\nlifetime = \"169h\"", "restore.lifetime: 169h0m0s is more than restore.max_lifetime (168h0m0s): lower it, or raise restore.max_lifetime"},
	{"no lifetime", "[restore]\nlifetime = \"0s\"", `restore.lifetime: want more than 0, such as "30s"`},
	{"queued", "[limits]\nmax_queued = -1", "limits.max_queued: -1: want 0 to 100000"},
	{"failed images", "[agent]\nfailed_images = \"keep\"", `agent.failed_images: "keep": want one of remove, set_aside`},
	{
		"rate limit", "[[repository]]\nid = \"a\"\npath = \"/a\"\nrate_limit = \"1KiB\"",
		`repository "a": rate_limit: 1KiB: want 0B for none, or at least 1MiB`,
	},
	{
		"key", "[[repository]]\nid = \"a\"\npath = \"/a\"\nencryption_key = \"../k\"",
		`repository "a": encryption_key: "../k": want 1 to 64 letters, digits, dots, underscores or dashes, and a letter first`,
	},
	{
		"hook without a command", "[[hook]]\nid = \"h\"\nwhen = \"before_run\"",
		`hook "h": command: is missing: set the path of a program and its arguments, such as ["/usr/local/bin/prepare"]`,
	},
	{"hook at no point", "[[hook]]\nid = \"h\"\nwhen = \"during\"\ncommand = [\"/bin/true\"]", `hook "h": when: "during": want one of before_run, after_run, before_vm, after_vm`},
	{"hook by name", "[[hook]]\nid = \"h\"\nwhen = \"before_run\"\ncommand = [\"true\"]", `hook "h": command: "true": want an absolute path`},
	{"hook of two lines", "[[hook]]\nid = \"h\"\nwhen = \"before_run\"\ncommand = [\"/bin/true\", \"a\\nb\"]", `hook "h": command: "a\nb": want no line breaks`},
	{
		"hook of no schedule", "[[hook]]\nid = \"h\"\nwhen = \"before_run\"\nschedules = [\"s\"]\ncommand = [\"/bin/true\"]",
		`hook "h": schedules: "s": no [[schedule]] has this id: add it, or name another`,
	},
	{
		"hook of a run for VMs", "[[hook]]\nid = \"h\"\nwhen = \"after_run\"\nvms = [\"a\"]\ncommand = [\"/bin/true\"]",
		`hook "h": vms: a hook with when = "after_run" has no such key: remove it`,
	},
	{"hook pattern", "[[hook]]\nid = \"h\"\nwhen = \"after_vm\"\nvms = [\"[\"]\ncommand = [\"/bin/true\"]", `hook "h": vms: "[": want a pattern such as "db-*"; write a literal [ as "\\["`},
	{"hook account", "[[hook]]\nid = \"h\"\nwhen = \"after_vm\"\ncommand = [\"/bin/true\"]\naccount = \"a b\"", `hook "h": account: "a b": want the name of an account, or nothing`},
	{"hook limit", "[[hook]]\nid = \"h\"\nwhen = \"after_vm\"\ncommand = [\"/bin/true\"]\ntime_limit = \"25h\"", `hook "h": time_limit: 25h0m0s: want "1s" to "24h", or "0s" for 5m`},
	{"hook policy", "[[hook]]\nid = \"h\"\nwhen = \"after_vm\"\ncommand = [\"/bin/true\"]\non_failure = \"no\"", `hook "h": on_failure: "no": want one of fail, continue`},
	{
		"hook credential", "[[hook]]\nid = \"h\"\nwhen = \"after_vm\"\ncommand = [\"/bin/true\"]\ncredentials = [\"../shadow\"]",
		`hook "h": credentials: "../shadow": want the name of a file in /etc/credstore, such as pg-password`,
	},
	{
		"hook credential of a user", "[agent]\nbus = \"user\"\n[[hook]]\nid = \"h\"\nwhen = \"after_vm\"\ncommand = [\"/bin/true\"]\ncredentials = [\"k\"]",
		`hook "h": credentials: needs agent.bus = "system": the systemd of a user session cannot pass credentials to commands`,
	},
	{
		"key twice", "[[repository]]\nid = \"a\"\npath = \"/a\"\nencryption_key = \"k\"\nold_keys = [\"l\", \"k\"]",
		`repository "a": old_keys: "k" is listed twice: list each key once`,
	},
	{
		"key of a user", "[agent]\nbus = \"user\"\n[[repository]]\nid = \"a\"\npath = \"/a\"\nencryption_key = \"k\"",
		`repository "a": encryption_key: needs agent.bus = "system": the systemd of a user session cannot pass keys to exporters`,
	},
	{
		"key and password", "[vcenter.m]\nhost = \"h\"\nuser = \"u\"\npassword_credential = \"k\"\n[[repository]]\nid = \"a\"\npath = \"/a\"\nold_keys = [\"k\"]",
		`repository "a": old_keys: "k" is the password_credential of vcenter.m: choose another name`,
	},
	{"group that chooses nothing", "[[group]]\nid = \"g\"", `group "g": chooses nothing: give it at least one of vms, vcenters, datacenters, folders and tags; vms = ["*"] chooses every VM`},
	{"group with a bad pattern", "[[group]]\nid = \"g\"\nvms = [\"a[\"]", `group "g": vms: "a[": want a pattern such as "db-*"; write a literal [ as "\\["`},
	{"group of an unknown vCenter", "[[group]]\nid = \"g\"\nvcenters = [\"x\"]", `group "g": vcenters: "x": no [vcenter.x] is configured: add it, or name another`},
	{"group twice", "[[group]]\nid = \"g\"\nvms = [\"*\"]\n[[group]]\nid = \"g\"\nvms = [\"*\"]", `group "g": id: is listed twice: give each group its own id`},
	{"schedule without a group", scheduled(""), `schedule "s": groups: is missing: name the groups whose VMs are backed up`},
	{"schedule of an unknown group", scheduled(`groups = ["h"]`), `schedule "s": groups: "h": no [[group]] has this id: add it, or name another`},
	{"window", scheduled(`groups = ["g"]` + "\nwindow = \"1h\"\nspread = \"1h\""), `schedule "s": spread: 1h0m0s is not less than window (1h0m0s): lower it`},
	{"blackout", scheduled(`groups = ["g"]` + "\nblackout = [\"24.12.2026\"]"), `schedule "s": blackout: "24.12.2026": want a day such as "2026-12-24", or days such as "2026-12-24..2027-01-01"`},
	{"blackout backwards", scheduled(`groups = ["g"]` + "\nblackout = [\"2026-12-24..2026-12-01\"]"), `schedule "s": blackout: "2026-12-24..2026-12-01": want a day such as "2026-12-24", or days such as "2026-12-24..2027-01-01"`},
	{"rate by time of day", scheduled(`groups = ["g"]` + "\nrate_limits = [\"7-19 50MiB\"]"), `schedule "s": rate_limits: "7-19 50MiB": want times of day and a limit such as "07:00-19:00 50MiB"`},
	{"low rate by time of day", scheduled(`groups = ["g"]` + "\nrate_limits = [\"07:00-19:00 1KiB\"]"), `schedule "s": rate_limits: "07:00-19:00 1KiB": 1KiB: want at least 1MiB`},
	{"rules for full backups", scheduled(`groups = ["g"]` + "\ntype = \"full\"\nfull_after = 3"), `schedule "s": type: "full": full_every and full_after need type auto`},
	{"retries", scheduled(`groups = ["g"]` + "\nretries = 21"), `schedule "s": retries: 21: want 0 to 20`},
	{"time zone of a schedule", scheduled(`groups = ["g"]` + "\ntime_zone = \"Berlin\""), `schedule "s": time_zone: "Berlin": want the name of a time zone such as "Europe/Berlin", or nothing for the host's`},
	{"runs", "[runs]\nkeep = \"1h\"", `runs.keep: 1h0m0s: want at least "1d"`},
	{"audit", "[audit]\nkeep = \"1h\"", `audit.keep: 1h0m0s: want "0s" for all, or at least "1d"`},
	{"discovery", "[discovery]\ninterval = \"1s\"", `discovery.interval: 1s: want "0s" for never, or at least "1m"`},
	{"prune at no time", "[prune]\nat = \"noon\"", `prune.at: "noon": want a time of day such as "03:30", or nothing`},
	{
		"no such share", "[prune]\nhold_above_percent = 101",
		`prune.hold_above_percent: 101: want 0 to 100`,
	},
	{
		"no such zone", "[prune]\ntime_zone = \"Mars/Base\"",
		`prune.time_zone: "Mars/Base": want the name of a time zone such as "Europe/Berlin", or nothing for the host's`,
	},
	{
		"policy that keeps nothing", "[[policy]]\nid = \"a\"\nmin_age = \"30d\"",
		`policy "a": keeps nothing: give it at least one of keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly and ` +
			`keep_within; a backup without a policy is never pruned`,
	},
	{"negative count", "[[policy]]\nid = \"a\"\nkeep_daily = -2", `policy "a": keep_daily: -2: want 0 for none, -1 for all, or 1 to 100000`},
	{"two policies of one name", "[[policy]]\nid = \"a\"\nkeep_last = 1\n[[policy]]\nid = \"a\"\nkeep_last = 2", `policy "a": id: is listed twice: give each policy its own id`},
	{
		"policy without a name", "[[policy]]\nkeep_last = 1",
		`policy number 1: id: "": want 1 to 64 letters, digits, dots, underscores or dashes, and no dot or dash first`,
	},
	{"chain", "[[policy]]\nid = \"a\"\nkeep_last = 1\nmax_chain = 1", `policy "a": max_chain: 1: want 0 for no limit, or 2 to 1000`},
	{"middle", "[[policy]]\nid = \"a\"\nkeep_last = 1\nexpired_middle = \"drop\"", `policy "a": expired_middle: "drop": want one of keep, merge`},
	{"age of nonsense", "[[policy]]\nid = \"a\"\nkeep_within = \"1y\"", `want an age such as "36h", "30d" or "8w"`},
	{
		"policy of a repository", "[[repository]]\nid = \"a\"\npath = \"/a\"\npolicy = \"gold\"",
		`repository "a": policy: "gold": no [[policy]] has this id: add it, or name another`,
	},
	{"duration as a table", "[nbd]\nstart_timeout = {d = 1}", ""},
	{"port out of range", "[nbd]\nfirst_port = 70000", "nbd.first_port: 70000: want 0 to 65535"},
	{"negative port", "[nbd]\nfirst_port = -1", "nbd.first_port: -1: want 0 to 65535"},
	{"wrong type", "[http]\nenabled = \"yes\"", "http.enabled: want true or false, not a string"},
	{"number in quotes", "[nbd]\nshared = \"3\"", "nbd.shared: want a whole number, not a string"},
	{"text without quotes", "[agent]\nsocket = 3", "agent.socket: want a text in quotes, not an integer"},
	{"table that is a number", "limits = 3", "limits: want a table, not an integer"},
	{"list that is a text", "[[repository]]\nold_keys = \"k\"", "repository.old_keys: want a list of texts in brackets, not a string"},
	{"tables that are a number", "repository = 3", "repository: want tables in double brackets, such as [[repository]], not an integer"},
	{"too many brackets", "[[nbd]]\nshared = 3", "nbd: there is only one such table: write [NAME], not [[NAME]]"},

	{"state directory", "[agent]\nstate_directory = \"var\"", `agent.state_directory: "var": want an absolute path`},
	{"no state directory", "[agent]\nstate_directory = \"\"", "agent.state_directory: is missing: set an absolute path"},
	{
		"socket too long", "[agent]\nsocket = \"/" + strings.Repeat("s", 107) + "\"",
		"agent.socket: 108 bytes long, the kernel takes at most 107: choose a shorter path",
	},
	{"bus", "[agent]\nbus = \"session\"", `agent.bus: "session": want one of system, user`},
	{"level", "[agent]\nlog_level = \"loud\"", `agent.log_level: "loud": want one of debug, info, warn, error`},
	{"format", "[agent]\nlog_format = \"xml\"", `agent.log_format: "xml": want one of auto, journal, json, text`},
	{"account", "[agent]\nexporter_user = \"a b\"", `agent.exporter_user: "a b": want the name of an account, or nothing`},
	{
		"slice", "[agent]\nslice = \"nbd\"",
		`agent.slice: "nbd": want the name of a systemd slice, such as sendense-nbd.slice`,
	},
	{
		"host", "[nbd]\nhost = \"0.0.0.0\"",
		`nbd.host: "0.0.0.0": want a loopback IP address such as 127.0.0.1: on any other address, idle clients could starve the backup client`,
	},
	{
		"host name", "[nbd]\nhost = \"localhost\"",
		`nbd.host: "localhost": want a loopback IP address such as 127.0.0.1: on any other address, idle clients could starve the backup client`,
	},
	{"port 0", "metrics.enabled = false\n[nbd]\nfirst_port = 0", "nbd.first_port: want 1 to 65535"},
	{
		"ports", "[nbd]\nfirst_port = 200\nlast_port = 100",
		"nbd.last_port: 100 is below nbd.first_port (200): raise it, or lower nbd.first_port",
	},
	{"shared", "[nbd]\nshared = 1", "nbd.shared: 1: want 2 to 1024: with fewer the backup client hangs"},
	{"zero timeout", "[nbd]\nstop_timeout = \"0s\"", `nbd.stop_timeout: want more than 0, such as "30s"`},
	{"qemu-nbd", "[nbd]\nqemu_nbd = \"/usr/bin/../qemu-nbd\"", `nbd.qemu_nbd: "/usr/bin/../qemu-nbd": write it as "/usr/qemu-nbd"`},
	{"url", "[sna]\nurl = \"127.0.0.1:9081\"", "sna.url: want http://HOST:PORT: the SNA has no TLS, its tunnel has"},
	{"url with TLS", "[sna]\nurl = \"https://127.0.0.1:9081\"", "sna.url: want http://HOST:PORT: the SNA has no TLS, its tunnel has"},
	{
		"url with a password", "[sna]\nurl = \"http://a:secret@b\"",
		"sna.url: want no user, password, query or fragment: only http://HOST:PORT",
	},
	{"nbd host", "[sna]\nnbd_host = \"a,b\"", `sna.nbd_host: "a,b": want a host name or an IPv4 address`},
	{"deadline", "[deadlines]\nno_progress = \"0s\"", `deadlines.no_progress: want more than 0, such as "30s"`},
	{
		"callbacks for everyone", "[http]\nlisten = \"0.0.0.0:8082\"",
		`http.listen: "0.0.0.0:8082": want a loopback IP address and a port: the callbacks have no authentication`,
	},
	{"metrics", "[metrics]\nlisten = \"9185\"", `metrics.listen: "9185": want ADDRESS:PORT, such as 127.0.0.1:9185`},
	{"too many VMs", "[metrics]\nmax_vms = 100001", "metrics.max_vms: 100001: want 0 to 100000"},
	{"short interval", "[metrics]\nbackup_interval = \"1s\"", `metrics.backup_interval: 1s: want "0s" for none, or at least "1m"`},
	{
		"one port twice", "[http]\nenabled = true\nlisten = \"127.0.0.1:9185\"",
		"metrics.listen: port 9185 is also used by http.listen: choose another port",
	},
	{
		"an export's port", "[metrics]\nlisten = \"127.0.0.1:10150\"",
		"metrics.listen: port 10150 belongs to the exports (nbd.first_port to nbd.last_port): choose another port",
	},
	{"token file", "[http]\ntoken_file = \"token\"", `http.token_file: "token": want an absolute path`},

	{
		"repository id", "[[repository]]\nid = \"../x\"\npath = \"/r\"",
		`repository number 1: id: "../x": want 1 to 64 letters, digits, dots, underscores or dashes, and no dot or dash first`,
	},
	{
		"repository twice", "[[repository]]\nid = \"a\"\npath = \"/r\"\n[[repository]]\nid = \"a\"\npath = \"/s\"",
		`repository "a": id: is listed twice: give each repository its own id`,
	},
	{
		"path twice", "[[repository]]\nid = \"a\"\npath = \"/r\"\n[[repository]]\nid = \"b\"\npath = \"/r\"",
		`repository "b": path: "/r" overlaps "/r" of repository "a": use separate directories`,
	},
	{
		"path inside", "[[repository]]\nid = \"a\"\npath = \"/r/s\"\n[[repository]]\nid = \"b\"\npath = \"/r\"",
		`repository "b": path: "/r" overlaps "/r/s" of repository "a": use separate directories`,
	},
	{
		"the state directory", "[[repository]]\nid = \"a\"\npath = \"/var/lib\"",
		`repository "a": path: "/var/lib" overlaps agent.state_directory "/var/lib/sendense-agent": use separate directories`,
	},
	{"relative repository", "[[repository]]\nid = \"a\"\npath = \"r\"", `repository "a": path: "r": want an absolute path`},
	{"no repository path", "[[repository]]\nid = \"a\"", `repository "a": path: is missing: set an absolute path`},
	{
		"unclean repository", "[[repository]]\nid = \"a\"\npath = \"/r/\"",
		`repository "a": path: "/r/": write it as "/r"`,
	},
	{
		"default repository", "default_repository = \"x\"",
		`default_repository: "x": no [[repository]] has this id: add it, or name another`,
	},
	{
		"vcenter without anything", "[vcenter.a]",
		"vcenter.a.host: \"\": want a host name or an IP address, with or without a port\n" +
			"vcenter.a.user: is missing: set the account that makes the backups\n" +
			`vcenter.a.password_credential: "": want the name of a file in /etc/credstore, such as vcenter-main`,
	},
	{
		"credential outside", "[vcenter.a]\nhost = \"h\"\nuser = \"u\"\npassword_credential = \"../shadow\"",
		`vcenter.a.password_credential: "../shadow": want the name of a file in /etc/credstore, such as vcenter-main`,
	},
	{
		"vcenter name", "[vcenter.\"a%d b\"]\nhost = \"h\"\nuser = \"u\"\npassword_credential = \"c\"",
		`vcenter."a%d b": want a name of 1 to 64 letters, digits, dots, underscores or dashes, and no dot or dash first`,
	},
	{
		"everything at once", "[nbd]\nshared = 0\nhost = \"::\"\n[agent]\nbus = \"\"\n",
		"agent.bus: \"\": want one of system, user\n" +
			"nbd.host: \"::\": want a loopback IP address such as 127.0.0.1: on any other address, idle clients could starve the backup client\n" +
			"nbd.shared: 0: want 2 to 1024: with fewer the backup client hangs",
	},
}

func TestBadFiles(t *testing.T) {
	for _, c := range badFiles {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			switch {
			case err == nil:
				t.Error("accepted")
			case c.want == "": // the parser's own words
				t.Log(err)
			case err.Error() != c.want && !strings.HasSuffix(err.Error(), ": "+c.want):
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestGoodValues(t *testing.T) {
	for _, text := range []string{
		"[nbd]\nhost = \"::1\"",
		"[nbd]\nhost = \"127.8.8.8\"",
		"[nbd]\nstop_timeout = \"1ms\"",
		"[sna]\ncooldown = \"0s\"",
		"[sna]\nurl = \"http://sna.example.com/prefix\"",
		"[agent]\nexporter_user = \"\"\nexporter_group = \"\"\nsocket_group = \"\"",
		"[agent]\nslice = \"system-sendense.slice\"",
		"[metrics]\nenabled = false\nlisten = \"127.0.0.1:10150\"",
		"[metrics]\nlisten = \":9185\"",
		"[metrics]\nlisten = \"[::1]:0\"",
		"[http]\nlisten = \"127.0.0.1:0\"",
		"[[repository]]\nid = \"a\"\npath = \"/srv/r\"\n[[repository]]\nid = \"b\"\npath = \"/srv/r2\"",
		"default_repository = \"a\"\n[[repository]]\nid = \"a\"\npath = \"/srv/r\"",
	} {
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
