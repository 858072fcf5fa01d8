import type { Clock, Counters, Log } from '#base/mod.ts';
import type { Connection } from './connection.ts';
import type { DataPlane } from './data-plane.ts';
import type { ServerCounter, TargetObserver } from './events.ts';
import type { NegotiationOffer } from './keys.ts';
import type { LoginGrant } from './login-types.ts';
import type { PortalAddress, TargetPolicy } from './policy.ts';
import type { Session } from './session.ts';
import type { Target } from './target.ts';
import { TextPhase } from './text-phase.ts';

/** What a connection needs of the server it belongs to. */
export interface ConnectionHost {
  readonly plane: DataPlane;
  readonly clock: Clock;
  readonly log: Log;
  readonly observer: TargetObserver;
  readonly counters: Counters<ServerCounter>;
  readonly policy: TargetPolicy;
  readonly offer: NegotiationOffer;
  readonly random: (bytes: number) => Uint8Array;
  target(name: string): Target | undefined;
  sessionExists(tsih: number): boolean;
  /** A number of its own and a free TSIH for a new session. */
  newSession(): { id: number; tsih: number };
  /** `address:port,group` of every portal, for a connection that came in by this one. */
  addresses(portal: PortalAddress): readonly string[];
  /** Whether it may have a discovery session; if not, why. */
  discoveryRefusalFor(connection: Connection): string | null;
  /** A peer was turned away; `reason` is one of a few fixed texts. */
  turnedAway(connection: Connection, reason: string): void;
  /** Another thread takes the socket, and the login request that we have read from it. */
  handOver(connection: Connection, home: number, login: Uint8Array): void;
  /** It has logged in: no longer half open. */
  opened(connection: Connection, session: Session): void;
  /** The socket is done for; tasks may still be draining. */
  closed(connection: Connection): void;
  /** Nothing of the session can reach a device any more. */
  sessionEnded(session: Session): void;
}

/** Text negotiation of a session that came in by `portal`. */
export function textPhaseOf(
  host: ConnectionHost,
  portal: PortalAddress,
  grant: LoginGrant,
): TextPhase {
  return new TextPhase({
    directory: {
      targetsFor: (name) => host.policy.targetsFor(name),
      addresses: () => host.addresses(portal),
    },
    initiatorName: grant.initiatorName,
    targetName: grant.targetName,
    offer: host.offer,
    limitBytes: grant.negotiated.initiatorSegmentBytes,
  });
}
