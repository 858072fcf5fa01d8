/**
 * Takes terminal control out of a serial line, one chunk at a time: what is left is what a person
 * would read, in the order it was printed. Line ends become `\n`, also a lone carriage return and a
 * cursor jump to the first column (firmware draws its screens that way).
 */
export class AnsiStripper {
  #state: State = 'text';
  #parameters = '';
  #afterReturn = false;
  #lineIsEmpty = true;

  /** The readable part of `text`; what a sequence needs beyond the chunk is remembered. */
  feed(text: string): string {
    let out = '';
    for (const ch of text) out += this.#next(ch);
    return out;
  }

  #next(ch: string): string {
    if (this.#state === 'text') return this.#text(ch);
    if (this.#state === 'control') return this.#control(ch);
    if (this.#state === 'string') {
      // Ends with BEL, or with ESC \ (whose second half the escape state swallows).
      if (ch === '\x07') this.#state = 'text';
      else if (ch === '\x1b') this.#state = 'escape';
      return '';
    }
    this.#state = this.#state === 'charset' ? 'text' : afterEscape(ch);
    this.#parameters = '';
    return '';
  }

  #control(ch: string): string {
    if (ch === '\x1b') {
      this.#state = 'escape';
      return '';
    }
    if (ch < '@' || ch > '~') {
      // Parameters of a well-formed sequence are short; a longer run is noise and is not kept.
      if (this.#parameters.length < 32) this.#parameters += ch;
      return '';
    }
    this.#state = 'text';
    const jumps = ch === 'H' || ch === 'f';
    const column = this.#parameters.split(';')[1] ?? '1';
    return jumps && Number(column) <= 1 && !this.#lineIsEmpty ? this.#newline() : '';
  }

  #text(ch: string): string {
    const afterReturn = this.#afterReturn;
    this.#afterReturn = ch === '\r';
    if (ch === '\r') return afterReturn ? '' : this.#newline();
    if (ch === '\n') return afterReturn ? '' : this.#newline();
    if (ch === '\x1b') {
      this.#state = 'escape';
      this.#afterReturn = afterReturn;
      return '';
    }
    if (ch < ' ' && ch !== '\t') return '';
    if (ch === '\x7f') return '';
    this.#lineIsEmpty = false;
    return ch;
  }

  #newline(): string {
    this.#lineIsEmpty = true;
    return '\n';
  }
}

type State = 'text' | 'escape' | 'charset' | 'control' | 'string';

function afterEscape(ch: string): State {
  if (ch === '[') return 'control';
  if (ch === ']' || ch === 'P' || ch === '^' || ch === '_' || ch === 'X') return 'string';
  if (ch === '(' || ch === ')' || ch === '*' || ch === '+' || ch === '#') return 'charset';
  return 'text';
}
