// People and messages to look at.
import type { ConversationRow, LinkView, MessageView, PathKind, Person } from "../../state/types.ts";

const minute = 60_000;
const day = 24 * 60 * minute;

const noLink: LinkView = { state: "none", path: "relay", delay: 0, protocol: "", port: 0, since: 0 };

export function person(id: string, name: string, more: Partial<Person> = {}): Person {
  return {
    id,
    name,
    ownName: name,
    localName: "",
    avatar: "",
    userName: id,
    relation: "accepted",
    note: "",
    since: Date.now() - 40 * day,
    blocked: false,
    invitation: "",
    hidesAddress: false,
    identityChanged: false,
    safety: "open",
    compared: 0,
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

/** A picture of somebody. */
const portrait = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="#7c6f57"/><circle cx="32" cy="25" r="12" fill="#f0dcc2"/><path d="M8 64c2-16 12-22 24-22s22 6 24 22z" fill="#26423c"/></svg>',
)}`;

interface Sample {
  people: Person[];
  rows: ConversationRow[];
  messages: Record<string, MessageView[]>;
}

/** Texts of every kind that may break a layout. */
function texts(): MessageView[] {
  const list = [
    "A word that is long: Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft_".repeat(2),
    "https://example.com/a/very/long/path/that/has/no/end?with=a&query=string&that=goes&on=and&on=until&it=breaks#and-a-fragment and words after it",
    "<img src=x onerror=alert(1)> <b>not bold</b> &amp; {{ not }} a template",
    "function path(a, b) {\n\tif (a.direct && b.direct) {\n\t\treturn 'direct';\n\t}\n\treturn a.relay ?? 'waiting';\n}",
    "😀",
    "👩‍👩‍👧‍👦🇨🇭👍🏽",
    "😀😀😀😀 four are small",
    "中文和 English 混排，数字 123，“引号”、破折号——还有很长的一句话，看看在气泡里怎么换行，标点会不会跑到行首去。",
    "שלום, זה טקסט מימין לשמאל עם English באמצע.",
    "مرحبا، هذا نص من اليمين إلى اليسار.",
    "one\n\n\n\nfour lines down",
    `Marks upon marks: ${"a\u0301\u0323\u0308".repeat(40)}`,
    "\u202ereversed by a control character\u202c and back",
    Array.from({ length: 900 }, (_, i) => `Line ${i + 1} of a long text that somebody pasted in here.`)
      .join("\n")
      .slice(0, 65_536),
    "x",
  ];
  return list.map((text, i) => message("omar", 31 + i, i % 3 === 1, text, 200 - i * 6));
}

interface Line {
  readonly own?: boolean;
  readonly text: string;
  readonly ago: number; // minutes
  readonly more?: Partial<MessageView>;
}

function conversation(id: string, seq: number, lines: readonly Line[]): MessageView[] {
  return lines.map(({ own = false, text, ago, more }, i) => message(id, seq + i, own, text, ago, more));
}

const relay = { path: "relay" } as const;
const turn = { path: "turn" } as const;
const waits = { path: "waiting", state: "waiting", seq: 0 } as const;

function english(): Record<string, MessageView[]> {
  return {
    mia: conversation("mia", 501, [
      { text: "The hall is ours on Saturday, from nine.", ago: 1000, more: relay },
      {
        text: "Kitchen too, if we bring our own cups. The caretaker only asks that we stack the chairs before we leave.",
        ago: 999,
        more: relay,
      },
      { own: true, text: "Wonderful. I will bring the big table and two lamps.", ago: 980 },
      { text: "This corner gets the best light.", ago: 12 },
      { own: true, text: "Then the sewing machines go there.", ago: 9 },
      { own: true, text: "And the soldering irons by the window", ago: 8 },
      { text: "👍", ago: 7 },
      { text: "Can you send me the final poster? Ben wants to print it today.", ago: 4 },
      { text: "A3, both pages.", ago: 3 },
    ]),
    ben: conversation("ben", 11, [
      { text: "The banner needs two more eyelets", ago: 45, more: turn },
      {
        own: true,
        text: "Bringing the punch at nine, with the good scissors.",
        ago: 40,
        more: { ...turn, state: "delivered" },
      },
      {
        own: true,
        text: "I also put the whole price list in here …",
        ago: 39,
        more: { ...waits, state: "failed", failure: "too-long" },
      },
      { text: "", ago: 37, more: { ...turn, known: false } },
      { text: "", ago: 36, more: { ...relay, state: "sealed" } },
      { text: "", ago: 35, more: { ...relay, state: "gone" } },
      { own: true, text: "Is the printer still at the library?", ago: 20, more: { ...turn, state: "only-here" } },
      { text: "It is, until five.", ago: 18, more: { ...turn, replaced: true } },
    ]),
    tom: conversation("tom", 21, [
      { text: "I am on the night train, back on Thursday.", ago: 1500, more: relay },
      {
        own: true,
        text: "Sleep well. The lamps are yours when you are back.",
        ago: 1490,
        more: { ...relay, state: "sent" },
      },
      { own: true, text: "And the drill.", ago: 4, more: waits },
      { own: true, text: "Nora has the key.", ago: 3, more: waits },
    ]),
    ning: conversation("ning", 41, [
      { text: "海报已经送去打印了。横幅还差两个扣眼，谁家有打孔器？", ago: 4400, more: relay },
    ]),
  };
}

function chinese(): Record<string, MessageView[]> {
  return {
    mia: conversation("mia", 101, [
      { text: "海报已经送去打印了。横幅还差两个扣眼，谁家有打孔器？", ago: 1400 },
      { text: "另外，“修补角”的灯我已经装好了——光线比想象的亮。", ago: 1399 },
      { own: true, text: "我有，九点一起带过去，再带上那把好剪刀。", ago: 21 },
      { text: "OK, see you at the station at 9", ago: 18, more: relay },
      { own: true, text: "太好了！周六还有谁需要搭车？", ago: 12 },
      { own: true, text: "我的车还能坐三个人。", ago: 11 },
      { text: "👍", ago: 7 },
      { text: "能把最终版海报发给我吗？阿宁今天想打印。", ago: 4 },
      { text: "A3，正反两页。", ago: 3 },
    ]),
    ben: conversation("ben", 11, [
      { text: "横幅还差两个扣眼", ago: 45, more: turn },
      { own: true, text: "九点我带打孔器来。", ago: 40, more: { ...turn, state: "delivered" } },
      {
        own: true,
        text: "我把整份价目表贴在这里了……",
        ago: 39,
        more: { ...waits, state: "failed", failure: "too-long" },
      },
      { text: "", ago: 37, more: { ...turn, known: false } },
      { text: "", ago: 36, more: { ...relay, state: "sealed" } },
      { text: "", ago: 35, more: { ...relay, state: "gone" } },
      { own: true, text: "打印机还在图书馆吗？", ago: 20, more: { ...turn, state: "only-here" } },
    ]),
    tom: conversation("tom", 21, [
      { text: "我在夜车上，星期四回来。", ago: 1500, more: relay },
      { own: true, text: "好好休息。等你回来，灯归你用。", ago: 1490, more: { ...relay, state: "sent" } },
      { own: true, text: "还有电钻。", ago: 4, more: waits },
      { own: true, text: "钥匙在诺诺那里。", ago: 3, more: waits },
    ]),
    ning: conversation("ning", 41, [{ text: "see you at the station", ago: 4400, more: relay }]),
  };
}

/** Names, drafts and notes in the two languages. */
const words = {
  en: {
    mia: "Mia",
    ben: "Ben",
    benjamin: "Benjamin Okoye",
    double: "Мia",
    rude: "Rob",
    tom: "Tom",
    omar: "Omar",
    ning: "阿宁",
    lena: "Lena Okafor",
    ines: "Ines",
    nora: "Nora",
    long: "Bartholomew Featherstonehaugh-Cholmondeley",
    draft: "Shall we take the early train?",
    note: "We met at the repair table on Saturday, you fixed my radio.",
  },
  zh: {
    mia: "米娅",
    ben: "小本",
    benjamin: "本杰明",
    double: "米娅",
    rude: "罗布",
    tom: "汤姆",
    omar: "欧马尔",
    ning: "Ning",
    lena: "林林",
    ines: "伊伊",
    nora: "诺诺",
    long: "一个名字特别特别长、列表里肯定放不下的朋友",
    draft: "我们坐早一点的那班",
    note: "周六修补角见过，你帮我修好了收音机。",
  },
} as const;

export function sample(language: "en" | "zh"): Sample {
  const say = words[language];
  const messages: Record<string, MessageView[]> = {
    ...(language === "zh" ? chinese() : english()),
    omar: texts(),
    lena: [],
    long: [message("long", 3, false, "👋", 9000)],
  };
  const people = [
    person("mia", say.mia, {
      presence: "online",
      devices: 2,
      lastSeen: Date.now(),
      avatar: portrait,
      safety: "compared",
      compared: Date.now() - 24 * day,
    }),
    person("ben", say.ben, { presence: "online", devices: 1, ownName: say.benjamin, localName: say.ben }),
    person("tom", say.tom, { lastSeen: Date.now() - 14 * 60 * minute }),
    person("omar", say.omar, { presence: "away", devices: 1, lastSeen: Date.now() - 20 * minute }),
    person("ning", say.ning, { lastSeen: Date.now() - 2 * day, userName: "", invitation: "old" }),
    person("lena", say.lena, { identityChanged: true, safety: "changed" }),
    person("long", say.long),
    person("ines", say.ines, { relation: "asking", conversation: "", note: say.note }),
    person("nora", say.nora, { relation: "asked", conversation: "" }),
    person("double", say.double, { userName: "", relation: "asking", conversation: "", note: say.note }),
    person("rob", say.rude, { relation: "none", conversation: "", blocked: true }),
  ];
  const rows = [
    row("mia", link("direct", 12), messages["mia"] ?? [], { readSeq: language === "zh" ? 107 : 507, unread: 2 }),
    row("tom", link("relay"), messages["tom"] ?? [], { waiting: 2 }),
    row("ben", link("turn", 38), messages["ben"] ?? [], { typing: true, missing: ["ben"] }),
    row("omar", link("direct", 21), messages["omar"] ?? [], { draft: say.draft }),
    row("ning", link("relay"), messages["ning"] ?? [], { unread: 1, readSeq: 40 }),
    row("lena", link("relay"), messages["lena"] ?? [], { time: Date.now() - 6 * day }),
    row("long", link("relay"), messages["long"] ?? []),
  ];
  return { people, rows, messages };
}
