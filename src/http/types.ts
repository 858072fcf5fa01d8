/**
 * What the boot listener needs from the rest of the program, and what it tells it. The listener
 * knows HTTP; which machine gets what is decided behind `BootSite`.
 */

/** The methods that a boot client uses; anything else is answered 405 or 501. */
export type BootMethod = 'GET' | 'HEAD' | 'POST';

/** One request, already checked: nothing in it can leave a folder or split a line. */
export type BootRequest = {
  readonly method: BootMethod;
  /**
   * Decoded path: starts with `/`, has no empty, `.` or `..` segment, no NUL, no control character
   * and no backslash. A trailing slash is kept.
   */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names in lower case. `host` is the client's claim: never build a URL from it. */
  readonly headers: ReadonlyMap<string, string>;
  /** Empty but for POST; at most `LIMITS.bodyBytes`. */
  readonly body: Buffer;
  readonly remoteAddress: string;
  /** Our own address as this client reaches it: what absolute URLs are built from. */
  readonly localAddress: string;
  readonly localPort: number;
};

/**
 * Bytes that can be read at any place, such as an image of the library. Closed by the listener once
 * no answer needs it any more.
 */
export interface ByteSource {
  readonly sizeBytes: number;
  /** Opaque text that changes whenever the content does; becomes a strong ETag. */
  readonly version?: string;
  readonly modifiedMs?: number;
  /** Fills `into` from `positionBytes`; resolves to the bytes read, 0 at the end. */
  read(into: Uint8Array, positionBytes: number): Promise<number>;
  close(): void;
}

/** What a site gives for one request. HEAD, ranges and conditions are the listener's own work. */
export type HttpAnswer =
  | {
      readonly kind: 'text';
      readonly status: number;
      readonly contentType: string;
      readonly body: string | Uint8Array;
    }
  | {
      readonly kind: 'file';
      /** Absolute path of the folder that the file cannot leave. */
      readonly root: string;
      /** Path below `root`, with forward slashes. */
      readonly path: string;
      readonly contentType?: string;
    }
  | { readonly kind: 'source'; readonly source: ByteSource; readonly contentType?: string }
  | { readonly kind: 'redirect'; readonly location: string }
  | { readonly kind: 'not-found'; readonly why?: string }
  | { readonly kind: 'forbidden'; readonly why?: string };

/** Decides what a client gets. Throwing answers 500 (a `UserError` by its kind) and is logged. */
export interface BootSite {
  resolve(request: BootRequest): HttpAnswer | Promise<HttpAnswer>;
}

/** One answer on its way, as the boot timeline sees it. Texts are printable and bounded. */
export type HttpTransfer = {
  /** Counts up from 1 within one server. */
  readonly id: number;
  readonly method: BootMethod;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly userAgent: string;
  readonly status: number;
  /** Bytes of body that will be sent (0 for HEAD). */
  readonly lengthBytes: number;
  /** First byte of a range answer, and the size of the whole. */
  readonly range?: { readonly startBytes: number; readonly sizeBytes: number };
};

/** Is told of every answer. Must not throw and must not block. */
export interface HttpObserver {
  started(transfer: HttpTransfer): void;
  finished(transfer: HttpTransfer, sentBytes: number, durationMs: number): void;
  failed(transfer: HttpTransfer, sentBytes: number, durationMs: number, why: string): void;
}
