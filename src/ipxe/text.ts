import { UserError } from '#base/mod.ts';

/**
 * How text gets into an iPXE script. iPXE has no quoting at all: a line is cut into words at
 * blanks, the words `||`, `&&`, `;` and whatever starts with `#` are operators, and only then
 * `${…}` is expanded, word by word (its core/exec.c). So: values are checked against a list of
 * characters, words for people are made of harmless characters, and secrets are written as hex
 * bytes.
 */

/** Characters of one word that iPXE takes as they are. No `$`, no blank, no quote. */
const SAFE_URL = /^https?:\/\/[A-Za-z0-9.:[\]-]+(?:\/[A-Za-z0-9._~!*'(),:@&=+/%?-]*)?$/;
/** RFC 4173 §5 and iPXE's multi-part form; several ':' are part of an IQN. */
const SAFE_SAN =
  /^(?:iscsi:[A-Za-z0-9.:[\]_%-]+|https?:\/\/[A-Za-z0-9.:[\]-]+\/[A-Za-z0-9._~:@&=+/%?-]*)$/;
/** RFC 7143 §4.2.7: after stringprep an iSCSI name has only these. 223 bytes at most. */
const SAFE_IQN = /^(?:iqn|eui|naa)\.[a-z0-9.:-]{1,219}$/;
const SAFE_EFI_FILE = /^\\[A-Za-z0-9_.\\-]{1,120}$/;
const SAFE_KEY = /^[a-z0-9][a-z0-9-]{0,31}$/;
/** Longest line of a script; iPXE copies lines several times into a small heap. */
const LINE_BYTES = 4096;
/** Columns of the BIOS text screen. */
const COLUMNS = 78;

/** The value, if it is an http(s) URL whose every character is safe; else UserError `bad-url`. */
export function urlWord(value: string, what: string): string {
  return checked(value, SAFE_URL, what, 'write it percent-encoded, as http://address[:port]/path');
}

/** The value, if it is a SAN URI (`iscsi:…` or http) that is safe; else UserError. */
export function sanWord(value: string): string {
  return checked(value, SAFE_SAN, 'SAN address', 'it looks like iscsi:10.0.0.1::3260:0:iqn.…');
}

/** The value, if it is an iSCSI name; else UserError. */
export function iqnWord(value: string): string {
  return checked(value, SAFE_IQN, 'iSCSI name', 'use lower-case letters, digits, ".", ":" and "-"');
}

/** The value, if it is a path of an EFI file with backslashes; else UserError. */
export function efiFileWord(value: string): string {
  return checked(value, SAFE_EFI_FILE, 'EFI file', 'it looks like \\EFI\\debian\\grubx64.efi');
}

/** The value, if it can be a label of a script; else UserError. */
export function keyWord(value: string): string {
  return checked(value, SAFE_KEY, 'menu key', 'use lower-case letters, digits and "-"');
}

/**
 * Words for people: everything but plain letters, digits and harmless marks becomes `?`, so no text
 * from a network can end a line, start a comment, chain a command or name a setting. Cut to
 * `columns`. Never empty: `echo` and `item` need an argument in some builds.
 */
export function shown(text: string, columns = COLUMNS): string {
  const plain = text
    .replaceAll(/[^A-Za-z0-9 .,:/()_+=@%'!*<>[\]\\?-]/g, '?')
    // A word that starts with "-" would be read as an option of the command.
    .replaceAll(/(^|\s)-+/g, '$1?')
    .replaceAll(/\s+/g, ' ')
    .trim();
  if (plain === '') return '?';
  return plain.length > columns ? `${plain.slice(0, columns - 3)}...` : plain;
}

/**
 * `set NAME:hex …`: the exact bytes of `value` whatever they are. For credentials: nothing in them
 * can be read as script, and blanks survive.
 */
export function setBytes(name: string, value: string): string {
  const bytes = Buffer.from(value, 'utf8');
  if (bytes.length === 0) return `clear ${name} ||`;
  return `set ${name}:hex ${(bytes.toString('hex').match(/../g) ?? []).join(':')}`;
}

/**
 * A kernel's command line as words of an iPXE line. `${setting}` is left for iPXE to expand. Throws
 * UserError for what iPXE would not pass on: its operators as words, comments, line ends.
 */
export function kernelWords(cmdline: string): string {
  const words = cmdline
    .trim()
    .split(/\s+/)
    .filter((w) => w !== '');
  for (const word of words) {
    const operator = word === '||' || word === '&&' || word === ';' || word.startsWith('#');
    const settings = word.replaceAll(/\$\{[A-Za-z0-9/:._-]+\}/g, '');
    if (operator || !/^[\x21-\x7e]*$/.test(word) || settings.includes('${')) {
      throw new UserError('invalid', 'bad-cmdline', {
        what: `the kernel command line cannot contain "${word}"`,
        why: 'iPXE would read it as a command of its own',
        todo: 'leave the word out, or quote it differently for the kernel',
      });
    }
  }
  const line = words.join(' ');
  if (line.length > LINE_BYTES / 2) {
    throw new UserError('invalid', 'bad-cmdline', {
      what: 'the kernel command line is too long',
      why: `Linux takes ${LINE_BYTES / 2} characters`,
    });
  }
  return line;
}

/** Joins lines, and checks what every builder promises: one line each, ASCII, bounded. */
export function assemble(lines: readonly string[]): string {
  for (const line of lines) {
    if (!/^[\x20-\x7e]*$/.test(line) || line.length > LINE_BYTES) {
      throw new UserError('invalid', 'bad-script', {
        what: 'a boot script would have a broken line',
        why: `${JSON.stringify(line.slice(0, 60))} has a control character or is too long`,
      });
    }
  }
  return `${lines.join('\n')}\n`;
}

function checked(value: string, pattern: RegExp, what: string, todo: string): string {
  if (pattern.test(value) && value.length <= LINE_BYTES / 2) return value;
  throw new UserError('invalid', 'bad-script-value', {
    what: `${what} "${value.slice(0, 100)}" cannot be put into a boot script`,
    why: 'it has characters that iPXE would read as its own',
    todo,
  });
}
