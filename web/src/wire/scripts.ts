/** The scripts of Unicode (UAX #24) but Han, Hiragana and Katakana, which count as one, and Inherited. */
const NAMES = `
  Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki
  Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee
  Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra
  Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati
  Gunjala_Gondi Gurmukhi Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Imperial_Aramaic Inscriptional_Pahlavi
  Inscriptional_Parthian Javanese Kaithi Kannada Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki
  Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic
  Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive
  Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari New_Tai_Lue
  Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic
  Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene
  Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham
  SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le
  Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai
  Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square
`;

const JAPANESE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー]/u; // the long vowel mark is of no script

/** Letters of these are read from the right (Bidi_Class R and AL). */
const RIGHT_TO_LEFT = new Set(
  (
    "Adlam Arabic Avestan Chorasmian Cypriot Elymaic Garay Hanifi_Rohingya Hatran Hebrew Imperial_Aramaic " +
    "Inscriptional_Pahlavi Inscriptional_Parthian Kharoshthi Lydian Mandaic Manichaean Mende_Kikakui " +
    "Meroitic_Cursive Meroitic_Hieroglyphs Nabataean Nko Old_Hungarian Old_North_Arabian Old_Sogdian " +
    "Old_South_Arabian Old_Turkic Old_Uyghur Palmyrene Phoenician Psalter_Pahlavi Samaritan Sogdian Syriac " +
    "Thaana Yezidi"
  ).split(" "),
);

/** Whether all these letters and marks are of one script, where Han, Hiragana and Katakana count as one. */
export function oneScript(letters: readonly string[]): boolean {
  const first = letters[0];
  if (first === undefined) return true;
  const script = scriptOf(first);
  return letters.every((c) => script.test(c));
}

/** Whether a text of one script is read from the right. */
export function isRightToLeft(text: string): boolean {
  const letter = /\p{L}/u.exec(text)?.[0];
  return letter !== undefined && RIGHT_TO_LEFT.has(nameOf(letter));
}

function scriptOf(letter: string): RegExp {
  if (JAPANESE.test(letter)) return JAPANESE;
  return matcher(nameOf(letter));
}

/** Names a letter's script; "" for one that this list or the browser's Unicode does not have. */
function nameOf(letter: string): string {
  if (/\p{Script=Latin}/u.test(letter)) return "Latin";
  return (
    NAMES.trim()
      .split(/\s+/)
      .find((name) => matcher(name).test(letter)) ?? ""
  );
}

function matcher(name: string): RegExp {
  try {
    return new RegExp(`\\p{Script=${name}}`, "u");
  } catch {
    return /(?!)/; // a script that this browser does not know matches nothing
  }
}
