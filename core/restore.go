package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// RestoreConfig says what is made of a backup: the data directory of one of the first members of a new cluster. Every
// member restores the same backup with the same list and token, each under its own name, and then they start as usual:
// they find each other by the list, and their log begins where the backup ends.
type RestoreConfig struct {
	DataDir        string // must not exist, or be empty
	Name           string // of this member
	InitialCluster []Member
	ClusterToken   string   // "" = the default
	PeerURLs       []string // of this member, as in the list; optional
	Backup         io.Reader
	Progress       func(done, total int64) // bytes of the backup; may be nil
	// Contents are what is restored instead of a backup, if not nil.
	Contents *Contents
	// BumpRevision is added to the revision, and all of the history then counts as compacted: clients that have seen revisions
	// which were lost, because they came after the backup, do not take new ones for these, and their watches begin anew.
	BumpRevision int64

	FS     vfs.FS // nil = the operating system's
	Logger *slog.Logger
}

// restoring is what a data directory is called while it is being made.
const restoring = ".restoring"

// Restore makes a data directory from a backup, or nothing: it is made under another name beside its place, and renamed
// when everything in it is checked and on disk. What an attempt that was cut short left there is removed by the next one.
func Restore(ctx context.Context, cfg RestoreConfig) (BackupInfo, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	as := Config{
		Name: cfg.Name, InitialCluster: cfg.InitialCluster, ClusterToken: cfg.ClusterToken, PeerURLs: cfg.PeerURLs,
		Transport: listedTransport{},
	}
	if len(as.InitialCluster) == 0 {
		as.InitialCluster = []Member{{Name: cfg.Name, PeerURLs: cfg.PeerURLs}}
	}
	self, err := as.listed()
	if err != nil {
		return BackupInfo{}, err
	}
	if err := checkEmpty(cfg.FS, cfg.DataDir); err != nil {
		return BackupInfo{}, err
	}
	from := source{contents: cfg.Contents}
	if cfg.Contents != nil {
		from.info = &cfg.Contents.Info
	} else {
		if from.backup, err = openBackup(cfg.Backup, cfg.Progress); err != nil {
			return BackupInfo{}, err
		}
		from.info = &from.backup.info
	}
	dir := strings.TrimRight(cfg.DataDir, "/") + restoring
	if revision := from.info.Revision; cfg.BumpRevision < 0 || cfg.BumpRevision > 0 && cfg.BumpRevision > RevisionMax-revision {
		return *from.info, fmt.Errorf("core: revision %d cannot be bumped by %d: it would not be from %d to %d", revision, cfg.BumpRevision, revision, int64(RevisionMax))
	}
	err = errors.Join(cfg.FS.RemoveAll(dir), makeDirs(cfg.FS, dir))
	if err == nil {
		err = restoreInto(ctx, &cfg, &as, self, from, dir)
	}
	if err == nil {
		err = putInPlace(cfg.FS, dir, cfg.DataDir)
	}
	if err != nil {
		return *from.info, errors.Join(err, cfg.FS.RemoveAll(dir))
	}
	return *from.info, nil
}

// source is what is restored: a backup, or contents.
type source struct {
	info     *BackupInfo
	backup   *backupReader
	contents *Contents
}

// listedTransport lets a list of several members pass: they will have a transport when they start.
type listedTransport struct{ raftlog.Transport }

// checkEmpty refuses a directory with something in it.
func checkEmpty(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("core: data directory %s: %w", dir, err)
	case len(names) > 0:
		return fmt.Errorf("core: data directory %s is not empty: a backup is restored into a new one", dir)
	}
	return nil
}

// restoreInto makes a data directory.
func restoreInto(ctx context.Context, cfg *RestoreConfig, as *Config, self Member, from source, dir string) error {
	db, err := storage.Open(storage.Options{Dir: cfg.FS.PathJoin(dir, "state"), FS: cfg.FS, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	members, _ := staticCluster(as.InitialCluster, as.token())
	if from.contents != nil {
		err = loadContents(ctx, db, from.contents)
	} else {
		err = takeFiles(ctx, db, from.backup)
	}
	if err == nil {
		err = rewrite(db, members, cfg.BumpRevision)
		from.info.Revision += cfg.BumpRevision
	}
	if err == nil {
		err = writeIdentity(cfg.FS, dir, identity{
			Name: cfg.Name, Token: as.token(), Members: identityMembers(members),
			Member: memberID(self.PeerURLs, as.token(), 0), Cluster: restoredClusterID(members, as.token(), from.info.Digest),
		})
	}
	return errors.Join(err, db.Close())
}

// restoredClusterID is the same for all who restore one backup as one cluster, and no other cluster's: the one that the
// backup is of may still be about, at the same addresses, and its members must not be taken for members of this one.
func restoredClusterID(members []Member, token, digest string) uint64 {
	text := []byte(token + "\x00" + digest)
	for _, m := range members {
		text = fmt.Appendf(text, "\x00%d", m.ID)
	}
	return idOf(text)
}

// takeFiles makes what is in a backup the state of a new database, by the way that snapshots take.
func takeFiles(ctx context.Context, db *storage.DB, r *backupReader) error {
	files := make([]storage.SnapshotFile, len(r.info.Files))
	for i, f := range r.info.Files {
		files[i] = storage.SnapshotFile(f)
	}
	meta := storage.SnapshotMeta{Index: r.info.Index, Term: r.info.Term, Conf: r.info.Conf}
	in, err := db.Receive(meta, files)
	if err != nil {
		return fmt.Errorf("%w: its header: %w", ErrDamagedBackup, err)
	}
	err = r.each(func(file int, offset int64, data []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return in.Write(files[file].Name, offset, data)
	})
	if err == nil {
		err = in.Finish()
	}
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	return db.Install(meta)
}

// RevisionMax is the highest revision that is restored. A store that makes a million of them in a second would reach the end
// of the numbers from there in 146,000 years.
const RevisionMax = 1 << 62

// rewrite makes a state that of a new cluster: its members, and nothing that belonged to the old one.
func rewrite(db *storage.DB, members []Member, bump int64) error {
	batch := db.NewBatch()
	defer batch.Discard()
	for _, bounds := range []func() (lower, upper []byte){storage.MemberBounds, storage.RemovedBounds, storage.AlarmBounds} {
		batch.DeleteRange(bounds())
	}
	var voters []uint64
	for _, m := range members {
		storeMember(batch, m.message())
		voters = append(voters, m.ID)
	}
	state := batch.State()
	state.CorruptAlarms, state.NoSpaceAlarms = 0, 0
	state.Conf = raftlog.NewConf(voters, nil)
	if bump > 0 {
		state.Revision += bump
		state.Compacted = state.Revision
	}
	return batch.Commit()
}

// makeDirs makes a directory, with those above it that are missing, for good.
func makeDirs(fsys vfs.FS, dir string) error {
	var above []string
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); err == nil || fsys.PathDir(d) == d {
			break
		}
		above = append(above, fsys.PathDir(d))
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range above {
		if err := syncDir(fsys, d); err != nil {
			return err
		}
	}
	return nil
}

// putInPlace gives a directory its name, for good.
func putInPlace(fsys vfs.FS, from, to string) error {
	// A rename replaces an empty directory on some systems only.
	if names, err := fsys.List(to); err == nil && len(names) == 0 {
		if err := fsys.Remove(to); err != nil {
			return err
		}
	}
	if err := syncDir(fsys, from); err != nil {
		return err
	}
	if err := fsys.Rename(from, to); err != nil {
		return err
	}
	return syncDir(fsys, fsys.PathDir(to))
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
