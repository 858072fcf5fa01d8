import type { BootAnswer, BootStage } from './policy.ts';
import type { UefiSchool } from './strategy.ts';

/** Why a packet got no answer. Each is a counter too. */
export const DROP_REASONS = [
  'malformed',
  'not-a-request',
  'no-message-type',
  'relay-loop',
  'bad-relay',
  'unknown-relay',
  'no-hardware-address',
  'reply-too-large',
  'other-server-chosen',
  'no-free-address',
  'rate-limited',
  'too-many-offers',
  'unknown-lease',
  'not-durable',
  'nothing-to-boot',
  'unknown-architecture',
  'not-for-us',
  'decline-limit',
  'send-failed',
] as const;

/** One of DROP_REASONS. */
export type DropReason = (typeof DROP_REASONS)[number];

/** How another DHCP server was noticed. */
export type ForeignServerSource = 'probe' | 'offer' | 'request';

type Who = {
  readonly interface: string;
  /** Empty when the packet could not be read. */
  readonly mac: string;
  readonly xid: number;
  readonly relay?: string;
};

/** What happened, for the timeline. Texts from the network are raw: make them printable. */
export type DhcpEvent = Who &
  (
    | {
        readonly kind: 'discover' | 'request' | 'inform';
        readonly stage: BootStage;
        readonly arch?: number;
        readonly uuid?: string;
        readonly vendorClass?: string;
        readonly userClass: readonly string[];
        readonly hostName?: string;
        readonly address?: string;
        /** 67, or 4011 for the PXE boot server port. */
        readonly port: number;
        /** Seconds the client has tried already: a large first one hints at a port in STP delay. */
        readonly secs: number;
      }
    | { readonly kind: 'offer'; readonly address: string; readonly boot?: BootAnswer }
    | {
        readonly kind: 'ack';
        readonly address: string;
        readonly leaseSeconds: number;
        readonly boot?: BootAnswer;
      }
    | { readonly kind: 'nak'; readonly address: string; readonly reason: string }
    | { readonly kind: 'decline' | 'release' | 'conflict'; readonly address: string }
    | {
        readonly kind: 'proxy-offer';
        readonly boot: BootAnswer;
        readonly school: UefiSchool;
        readonly arch?: number;
      }
    | { readonly kind: 'proxy-ack'; readonly boot: BootAnswer; readonly arch?: number }
    | {
        readonly kind: 'foreign-server';
        readonly server: string;
        readonly seenBy: ForeignServerSource;
      }
    | { readonly kind: 'dropped'; readonly reason: DropReason; readonly detail?: string }
  );

/** Told of every step, synchronously and in order; must not throw. */
export interface DhcpObserver {
  dhcp(event: DhcpEvent): void;
}
