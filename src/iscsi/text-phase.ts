import { DecodeError } from '#base/mod.ts';
import { DEFAULTS, negotiateKey } from './keys.ts';
import type { NegotiationOffer } from './keys.ts';
import { LOGIN_SEGMENT_BYTES_MAX } from './limits.ts';
import { normalizeIscsiName } from './names.ts';
import { NO_BYTES, RESERVED_TAG, RejectReason } from './pdu/mod.ts';
import type { TextRequest, TextResponse } from './pdu/mod.ts';
import { TextCollector, TextSender } from './text.ts';
import type { KeyValue } from './text.ts';

/** Who may see which targets, and where they are. */
export interface Directory {
  /** Names that this initiator may use. */
  targetsFor(initiatorName: string): readonly string[];
  /** `address:port,group` of every portal, as the initiator should see them. */
  addresses(): readonly string[];
}

/** What a text request leads to; the caller adds the sequence numbers. */
export type TextOutcome =
  | { readonly kind: 'reply'; readonly response: Omit<TextResponse, SequenceKey> }
  | { readonly kind: 'reject'; readonly reason: RejectReason };
type SequenceKey = 'statSn' | 'expCmdSn' | 'maxCmdSn';

/**
 * Text negotiation in full feature phase (RFC 7143 §11.10): SendTargets, in both kinds of session,
 * and refusals for all else. Long text goes both ways in pieces: the initiator's by the C bit, ours
 * by a target transfer tag that the next request brings back.
 */
export class TextPhase {
  readonly #directory: Directory;
  readonly #initiatorName: string;
  /** The target of a normal session; the empty string in discovery. */
  readonly #targetName: string;
  readonly #offer: NegotiationOffer;
  readonly #limitBytes: number;
  #collector = new TextCollector();
  #sender: TextSender | null = null;
  #lastTag = 0;
  /** The tag that continues this negotiation; null while there is none. */
  #tag: number | null = null;

  constructor(options: {
    readonly directory: Directory;
    readonly initiatorName: string;
    readonly targetName: string;
    readonly offer: NegotiationOffer;
    /** The initiator's MaxRecvDataSegmentLength. */
    readonly limitBytes: number;
  }) {
    this.#directory = options.directory;
    this.#initiatorName = options.initiatorName;
    this.#targetName = options.targetName;
    this.#offer = options.offer;
    this.#limitBytes = Math.min(options.limitBytes, LOGIN_SEGMENT_BYTES_MAX);
  }

  /** One text request. */
  step(request: TextRequest): TextOutcome {
    const fresh = request.targetTransferTag === RESERVED_TAG;
    if (fresh) this.#reset();
    else if (request.targetTransferTag !== this.#tag) {
      return { kind: 'reject', reason: RejectReason.INVALID_PDU_FIELD };
    }
    if (this.#sender !== null) return this.#reply(request);
    try {
      const pairs = this.#collector.add(request.data, request.more);
      if (pairs === null) return this.#response(request, NO_BYTES, false, false);
      this.#sender = new TextSender(pairs.flatMap((pair) => this.#answer(pair)));
      return this.#reply(request);
    } catch (e) {
      if (!(e instanceof DecodeError)) throw e;
      this.#reset();
      return { kind: 'reject', reason: RejectReason.PROTOCOL_ERROR };
    }
  }

  #reset(): void {
    this.#collector = new TextCollector();
    this.#sender = null;
  }

  #reply(request: TextRequest): TextOutcome {
    const sender = this.#sender ?? new TextSender([]);
    const { data, more } = sender.next(this.#limitBytes);
    if (!more) this.#sender = null;
    return this.#response(request, data, more, !more && request.final);
  }

  #response(request: TextRequest, data: Uint8Array, more: boolean, final: boolean): TextOutcome {
    this.#lastTag = (this.#lastTag + 1) & 0x7fffffff;
    this.#tag = final ? null : this.#lastTag;
    const targetTransferTag = this.#tag ?? RESERVED_TAG;
    const { lun, initiatorTaskTag } = request;
    return {
      kind: 'reply',
      response: { final, more, lun, initiatorTaskTag, targetTransferTag, data },
    };
  }

  #answer([key, value]: KeyValue): KeyValue[] {
    if (key === 'SendTargets') return this.#sendTargets(value);
    // Only SendTargets belongs here; the keys of the standard are refused, others not understood.
    const reply = negotiateKey(key, value, this.#offer, { ...DEFAULTS }, true);
    return [[key, reply === 'NotUnderstood' ? reply : 'Reject']];
  }

  /** RFC 7143 §13.4 and appendix C: All in discovery only; a name; or nothing for one's own. */
  #sendTargets(value: string): KeyValue[] {
    const discovery = this.#targetName === '';
    if (value === 'All') {
      return discovery ? this.#describe(() => true) : [['SendTargets', 'Reject']];
    }
    if (value === '') {
      if (discovery) return [['SendTargets', 'Reject']];
      return this.#describe((name) => name === this.#targetName);
    }
    const wanted = normalizeIscsiName(value);
    return this.#describe((name) => name === wanted);
  }

  #describe(wanted: (name: string) => boolean): KeyValue[] {
    const addresses = this.#directory.addresses();
    return this.#directory
      .targetsFor(this.#initiatorName)
      .filter(wanted)
      .flatMap((name): KeyValue[] => [
        ['TargetName', name],
        ...addresses.map((address): KeyValue => ['TargetAddress', address]),
      ]);
  }
}
