/** A lease: an address and the client that has it until it expires. */
export type Lease = {
  readonly address: number;
  /** The name under which the client is known (`ClientFacts.key`). */
  readonly client: string;
  readonly mac: string;
  readonly hostName: string | undefined;
  readonly seconds: number;
  /** Monotonic time of expiry. */
  readonly expiresMs: number;
};

/** A client that asks for an address. */
export type Applicant = {
  readonly client: string;
  readonly mac: string;
  readonly hostName: string | undefined;
  /** True for machines with a reservation: guards against strangers do not hit them. */
  readonly known: boolean;
  /** Their fixed address. */
  readonly fixed: number | undefined;
};

/** Why a DISCOVER gets no address. */
export type Refusal = 'no-free-address' | 'too-many-offers' | 'rate-limited';

/**
 * How an address stands towards a client; `former`: it was its last one and is still free,
 * `yielded`: leased to it, and laid down for another machine since.
 */
export type Standing = 'offered' | 'leased' | 'yielded' | 'former' | 'free' | 'taken' | 'outside';
