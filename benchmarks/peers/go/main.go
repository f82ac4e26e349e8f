// Command rot13echo answers each line that a client sends with the line and its ROT13.
//
// It is what one would write in Go: a goroutine for each connection, buffered reading and
// writing, and a flush when nothing more has come. With a certificate and its key, two PEM
// files, it speaks TLS.
package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

// For each direction of a connection: a compromise between few system calls for who sends
// much and little memory for who is idle. A longer line is an error.
const bufferBytes = 16 * 1024

var rot13 = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
	}
	for i := byte(0); i < 26; i++ {
		table['a'+i] = 'a' + (i+13)%26
		table['A'+i] = 'A' + (i+13)%26
	}
	return table
}()

// serve answers one client until it sends no more.
func serve(conn net.Conn) error {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, bufferBytes)
	out := bufio.NewWriterSize(conn, bufferBytes)
	var coded []byte
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		coded = append(coded[:0], line...)
		for i, b := range coded {
			coded[i] = rot13[b]
		}
		// The writer keeps the first error and returns it from Flush.
		out.Write(line)
		out.Write(coded)
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	if len(os.Args) == 3 {
		pair, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			if err := serve(conn); err != nil {
				log.Print(err)
			}
		}()
	}
}
