/** The address and port that a client sends from. */
export type TftpClient = { readonly address: string; readonly port: number };

/** One request, as every later event names it. */
export type TftpRequest = {
  /** Counts up from 1 within one server. */
  readonly id: number;
  readonly client: TftpClient;
  /** As sent, one character per byte: make it printable before showing it. */
  readonly name: string;
  /** `octet` or `netascii`. */
  readonly mode: string;
  /** Option names in lower case, as sent. */
  readonly options: Readonly<Record<string, string>>;
};

/** Why a transfer did not happen or did not end well. */
export type TftpFailure =
  | 'not-found'
  | 'forbidden'
  | 'unavailable' // the file exists and cannot be read
  | 'bad-mode'
  | 'client-error' // the client gave up with an ERROR of its own
  | 'options-refused' // the client did not like our OACK (ERROR 8)
  | 'no-answer' // not one ACK: the packets do not reach it, or come from an unexpected port
  | 'timed-out' // it fell silent in the middle
  | 'replaced' // the same client port asked for something else
  | 'stopped'; // the server was closed

/** What was agreed on at the start. */
export type TftpStarted = {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly windowBlocks: number;
};

/** How a transfer ended well. */
export type TftpFinished = {
  readonly sizeBytes: number;
  readonly durationMs: number;
  /** Blocks sent again. */
  readonly retransmissions: number;
  /** False: all was sent, but the last ACK never came. Usual, and no error (RFC 1350 §6). */
  readonly acknowledged: boolean;
};

/** Told what happens, for the boot timeline. Must not throw. */
export interface TftpObserver {
  /** A read request with a valid form. One of the four below ends its story. */
  request?(request: TftpRequest): void;
  /** The first ACK came: the client is real and takes data. */
  started?(request: TftpRequest, facts: TftpStarted): void;
  /** Bytes acknowledged so far; at most four times per transfer. */
  progress?(request: TftpRequest, sentBytes: number): void;
  finished?(request: TftpRequest, facts: TftpFinished): void;
  failed?(request: TftpRequest, reason: TftpFailure, message: string): void;
  /** The client only asked for the size (`tsize`) and left, as many ROMs do before they load. */
  probe?(request: TftpRequest, sizeBytes: number): void;
}
