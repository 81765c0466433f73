// People and messages to look at.
import type { ConversationRow, LinkView, MessageView, PathKind, Person } from "../../state/types.ts";

const minute = 60_000;
const day = 24 * 60 * minute;

const noLink: LinkView = { state: "none", path: "relay", delay: 0, protocol: "", port: 0, since: 0 };

export function person(id: string, name: string, more: Partial<Person> = {}): Person {
  return {
    id,
    name,
    userName: id,
    relation: "accepted",
    note: "",
    since: Date.now() - 40 * day,
    identityChanged: false,
    conversation: id,
    presence: "offline",
    lastSeen: 0,
    devices: 0,
    ...more,
  };
}

export function link(path: PathKind, delay = 0): LinkView {
  if (path === "relay" || path === "waiting") return { ...noLink, path };
  const [protocol, port] = path === "direct" ? ["udp", 51_834] : ["tls", 443];
  return { state: "open", path, delay, protocol, port, since: Date.now() - 35 * minute };
}

export function message(
  conversation: string,
  seq: number,
  own: boolean,
  text: string,
  minutesAgo: number,
  more: Partial<MessageView> = {},
): MessageView {
  return {
    key: `${conversation}-${seq}`,
    id: `${conversation}-${seq}`,
    conversation,
    from: own ? "me" : conversation,
    own,
    text,
    known: true,
    time: Date.now() - minutesAgo * minute,
    seq,
    path: "direct",
    state: own ? "read" : "received",
    failure: "",
    live: false,
    ...more,
  };
}

export function row(
  id: string,
  link: LinkView,
  messages: readonly MessageView[],
  more: Partial<ConversationRow> = {},
): ConversationRow {
  const last = messages.at(-1) ?? null;
  return {
    id,
    person: id,
    unread: 0,
    readSeq: last?.seq ?? 0,
    preview: last,
    draft: "",
    typing: false,
    waiting: 0,
    time: last?.time ?? 0,
    link,
    ...more,
  };
}

/** A long past: one message for every number down from the first of a conversation. */
export function older(conversation: string, before: MessageView, count: number, chinese: boolean): MessageView[] {
  const lines = chinese
    ? ["好的，明天见。", "路上堵车，晚十分钟到。", "你把钥匙放在哪里了？", "在门口的花盆下面，老地方。"]
    : [
        "See you tomorrow then.",
        "Traffic is slow, ten minutes late.",
        "Where did you leave the keys?",
        "Under the flower pot by the door, as always. The other set is with Nora, in case it rains.",
      ];
  return Array.from({ length: count }, (_, i) => {
    const back = count - i;
    const own = Math.floor(back / 3) % 2 === 0;
    return {
      ...message(conversation, before.seq - back, own, lines[back % lines.length] ?? "", 0, {
        path: back % 5 === 0 ? "relay" : "direct",
      }),
      time: before.time - Math.floor(back / 3) * 47 * minute - (3 - (back % 3)) * minute - 14 * 60 * minute,
    };
  });
}

interface Sample {
  people: Person[];
  rows: ConversationRow[];
  messages: Record<string, MessageView[]>;
}

export function english(): Sample {
  const messages: Record<string, MessageView[]> = {
    mia: [
      message("mia", 501, false, "The hall is ours on Saturday, from nine.", 1000, { path: "relay" }),
      message(
        "mia",
        502,
        false,
        "Kitchen too, if we bring our own cups. The caretaker only asks that we stack the chairs before we leave.",
        999,
        { path: "relay" },
      ),
      message("mia", 503, true, "Wonderful. I will bring the big table and two lamps.", 980),
      message("mia", 504, false, "This corner gets the best light.", 12),
      message("mia", 505, true, "Then the sewing machines go there.", 9, { state: "read" }),
      message("mia", 506, true, "And the soldering irons by the window", 8, { state: "read" }),
      message("mia", 507, false, "👍", 7),
      message("mia", 508, false, "Can you send me the final poster? Ben wants to print it today.", 4),
      message("mia", 509, false, "A3, both pages.", 3),
    ],
    ben: [
      message("ben", 11, false, "The banner needs two more eyelets", 45, { path: "turn" }),
      message("ben", 12, true, "Bringing the punch at nine, with the good scissors.", 40, {
        path: "turn",
        state: "delivered",
      }),
      message("ben", 13, true, "x".repeat(80), 39, { path: "turn", state: "failed", failure: "too-long" }),
      message("ben", 14, false, "", 37, { known: false, path: "turn" }),
      message("ben", 15, false, "", 36, { state: "sealed", path: "relay" }),
      message("ben", 16, false, "", 35, { state: "gone", path: "relay" }),
    ],
    tom: [
      message("tom", 21, false, "I am on the night train, back on Thursday.", 1500, { path: "relay" }),
      message("tom", 22, true, "Sleep well. The lamps are yours when you are back.", 1490, {
        path: "relay",
        state: "sent",
      }),
    ],
    omar: [message("omar", 31, true, "see you at the station", 2900, { path: "direct" })],
    ning: [message("ning", 41, false, "海报已经送去打印了。横幅还差两个扣眼，谁家有打孔器？", 4400, { path: "relay" })],
    lena: [],
  };
  const people = [
    person("mia", "Mia", { presence: "online", devices: 2, lastSeen: Date.now() }),
    person("ben", "Ben", { presence: "online", devices: 1 }),
    person("tom", "Tom", { lastSeen: Date.now() - 14 * 60 * minute }),
    person("omar", "Omar", { presence: "away", devices: 1, lastSeen: Date.now() - 20 * minute }),
    person("ning", "阿宁", { lastSeen: Date.now() - 2 * day }),
    person("lena", "Lena Okafor", { identityChanged: true }),
    person("ines", "Ines", {
      relation: "asking",
      conversation: "",
      note: "We met at the repair table on Saturday, you fixed my radio.",
    }),
    person("nora", "Nora", { relation: "asked", conversation: "" }),
  ];
  const rows = [
    row("mia", link("direct", 12), messages["mia"] ?? [], { readSeq: 507, unread: 2 }),
    row("ben", link("turn", 38), messages["ben"] ?? [], {}),
    row("omar", link("direct", 21), messages["omar"] ?? [], { draft: "Shall we take the early train?" }),
    row("tom", link("relay"), messages["tom"] ?? [], { waiting: 0 }),
    row("ning", link("relay"), messages["ning"] ?? [], { unread: 1, readSeq: 40 }),
    row("lena", link("relay"), messages["lena"] ?? [], { time: Date.now() - 6 * day }),
  ];
  return { people, rows, messages };
}

export function chinese(): Sample {
  const messages: Record<string, MessageView[]> = {
    ning: [
      message("ning", 101, false, "海报已经送去打印了。横幅还差两个扣眼，谁家有打孔器？", 24),
      message("ning", 102, false, "另外，“修补角”的灯我已经装好了——光线比想象的亮。", 23),
      message("ning", 103, true, "我有，九点一起带过去，再带上那把好剪刀。", 21),
      message("ning", 104, false, "OK, see you at the station at 9", 18, { path: "relay" }),
      message("ning", 105, true, "太好了！周六还有谁需要搭车？", 12, { path: "waiting", state: "waiting", seq: 0 }),
      message("ning", 106, true, "我的车还能坐三个人。", 11, { path: "waiting", state: "waiting", seq: 0 }),
    ],
    mi: [message("mi", 11, false, "好，门口见", 20)],
    tao: [message("tao", 12, false, "夜车上，星期四回来。", 1500, { path: "relay" })],
    mia: [message("mia", 13, true, "see you at the station", 2900)],
  };
  const people = [
    person("ning", "阿宁", { presence: "online", devices: 2 }),
    person("mi", "小米", { presence: "online", devices: 1 }),
    person("tao", "小陶", { lastSeen: Date.now() - 900 * minute }),
    person("mia", "Mia", { presence: "away", devices: 1 }),
    person("yi", "伊伊", { relation: "asking", conversation: "", note: "周六修补角见过，你帮我修好了收音机。" }),
  ];
  const rows = [
    row("ning", link("waiting"), messages["ning"] ?? [], { waiting: 2 }),
    row("mi", link("direct", 8), messages["mi"] ?? [], { typing: true }),
    row("tao", link("relay"), messages["tao"] ?? [], { unread: 1, readSeq: 11 }),
    row("mia", link("direct", 12), messages["mia"] ?? [], { draft: "我们坐早一点的那班" }),
  ];
  return { people, rows, messages };
}
