package resp

// splitWords cuts a line into words as Redis does: separated by white space, with quotes. In double quotes \n \r \t \b
// \a and \xHH stand for bytes; in single quotes only \' does. ok is false when a quote is not closed, or when something
// other than space follows a closing one.
func splitWords(line []byte) (words [][]byte, ok bool) {
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return words, true
		}
		word := []byte{}
		for i < len(line) && !isSpace(line[i]) {
			switch line[i] {
			case '"':
				word, i, ok = appendDoubleQuoted(word, line, i+1)
			case '\'':
				word, i, ok = appendSingleQuoted(word, line, i+1)
			default:
				word = append(word, line[i])
				i++
				continue
			}
			if !ok || i < len(line) && !isSpace(line[i]) {
				return nil, false
			}
		}
		words = append(words, word)
	}
}

func appendDoubleQuoted(word, line []byte, i int) (_ []byte, next int, ok bool) {
	for i < len(line) {
		c := line[i]
		switch {
		case c == '"':
			return word, i + 1, true
		case c == '\\' && i+3 < len(line) && line[i+1] == 'x' && isHex(line[i+2]) && isHex(line[i+3]):
			word = append(word, hexValue(line[i+2])<<4|hexValue(line[i+3]))
			i += 4
		case c == '\\' && i+1 < len(line):
			word = append(word, unescape(line[i+1]))
			i += 2
		default:
			word = append(word, c)
			i++
		}
	}
	return nil, i, false
}

func appendSingleQuoted(word, line []byte, i int) (_ []byte, next int, ok bool) {
	for i < len(line) {
		switch {
		case line[i] == '\'':
			return word, i + 1, true
		case line[i] == '\\' && i+1 < len(line) && line[i+1] == '\'':
			word = append(word, '\'')
			i += 2
		default:
			word = append(word, line[i])
			i++
		}
	}
	return nil, i, false
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

// isSpace follows C's isspace. A NUL ends a line in Redis; here it separates words, which shows no more of the line.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' || c == 0 }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
