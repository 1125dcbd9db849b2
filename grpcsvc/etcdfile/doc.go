// Package etcdfile writes and reads etcd's database files: one bbolt file with a bucket for each of etcd's tables. A
// snapshot is such a file with its SHA-256 behind it.
//
//	file        concept
//	schema.go   buckets, keys and values, as etcd 3.4 to 3.7 have them
//	write.go    a view of a store as a file
//	pages.go    the pages of a file, of which nothing is believed
//	read.go     a file as contents that a store can be made of
package etcdfile
