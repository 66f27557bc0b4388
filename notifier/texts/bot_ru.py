"""What the bot says in Russian. {names} are put in; every value is escaped, the markup stands here."""

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "choose_language": "Выберите язык. / Choose your language.",
    "hello": "<b>{pool}</b>\nЯ сообщу, когда воркер остановится, когда он вернётся и когда вам заплатят.\n\n"
    "Пришлите адрес, на который вы майните.",
    "welcome_back": "<b>{pool}</b>\nЯ на месте. Адресов под наблюдением: {count}.\n"
    "/list покажет их, /help — что я умею.",
    "help": "<b>{pool}</b>\n"
    "/watch АДРЕС — следить за адресом\n/list — за чем я слежу\n/unwatch — перестать следить\n"
    "/stats — хешрейт и график за сутки\n/workers — воркеры по страницам\n/balance — баланс\n"
    "/payouts — последние выплаты\n/blocks — последние блоки пула\n/alerts — о чём сообщать\n"
    "/quiet 22:00-07:00 Europe/Moscow — тихие часы; /quiet off отменяет их\n"
    "/export — начисления и выплаты таблицей (CSV)\n/language — язык\n\n"
    "/stats, /workers, /balance, /payouts и /export принимают и адрес. "
    "В любом чате: @{bot} и адрес — быстрый взгляд. В группах настройки меняют только администраторы.",
    "help_admin": "\n\n<b>Операторам</b>\n/pool — состояние пула\n/hold ПРИЧИНА — остановить выплаты\n"
    "/resume — возобновить выплаты",
    "unknown_command": "Я не знаю такой команды. /help покажет, что я умею.",
    "language_set": "Теперь я говорю по-русски.",
    "watch_usage": "Какой адрес? <code>/watch АДРЕС</code>\nЗдесь адреса выглядят так: {expected}",
    "address_foreign": "<code>{address}</code> — адрес другой сети: {looks_like}.\nЭтот пул принимает {expected}.",
    "address_mweb": "<code>{address}</code> — адрес MWEB; на такие пул платить не может.\n"
    "Этот пул принимает {expected}.",
    "address_mistyped": "В <code>{address}</code> опечатка: контрольная сумма не сходится. "
    "Лучше скопируйте адрес.\nЭтот пул принимает {expected}.",
    "address_unknown": "<code>{address}</code> — не адрес.\nЭтот пул принимает {expected}.",
    "watched": "Слежу за <code>{account}</code>.\nСообщу, когда воркер остановится или вернётся, когда упадёт хешрейт "
    "или не засчитаны шары, а также о начислениях и выплатах. /alerts это меняет.",
    "watched_unseen": "\n\nНа этот адрес здесь ещё никто не майнил.",
    "already_watched": "Я уже слежу за <code>{account}</code>.",
    "watches_full": "Этот чат следит за {count} адресами, больше нельзя. /unwatch уберёт один.",
    "nothing_watched": "Вы пока ни за чем не следите. Пришлите адрес или <code>/watch АДРЕС</code>.",
    "list_head": "<b>Вы следите</b>",
    "list_row": "• <code>{account}</code>{state}",
    "state_paused": " (на паузе)",
    "unwatch_head": "За каким адресом больше не следить?",
    "unwatched": "Больше не слежу за <code>{account}</code>.",
    "choose_account": "Какой адрес?",
    "stats": "<b>{account}</b>\n{hps_5m} — 5 минут\n{hps_1h} — 1 час\n{hps_24h} — 24 часа\n"
    "Воркеров на связи: {online} из {total}\nШары: {accepted}, опоздало {stale}, отклонено {refused}\n"
    "Последняя шара: {last}",
    "never": "не было",
    "workers_head": "<b>Воркеры</b> <code>{account}</code>, {first}–{last} из {total}",
    "workers_none": "На <code>{account}</code> ещё не майнил ни один воркер.",
    "worker_row": "{mark} <b>{worker}</b> {hps}, последняя шара {last}",
    "default_worker": "(без имени)",
    "balance": "<b>Баланс</b> <code>{account}</code>\nК выплате: {payable}\nСозревает: {immature}\n"
    "Выплачивается: {reserved}\nВыплачено: {paid}",
    "payouts_head": "<b>Последние выплаты</b> на <code>{account}</code>",
    "payouts_none": "На <code>{account}</code> ещё ничего не выплачено.",
    "payout_row": "{time} — <b>{amount}</b>, {status}\n<code>{txid}</code>",
    "payout_row_unsent": "{time} — <b>{amount}</b>, {status}",
    "payout_reserved": "готовится",
    "payout_signed": "подписана",
    "payout_broadcast": "отправлена",
    "payout_confirmed": "подтверждена",
    "payout_review": "ждёт оператора",
    "payout_voided": "отменена",
    "payout_unspecified": "неизвестно",
    "blocks_head": "<b>Последние блоки</b>",
    "blocks_none": "Пул ещё не нашёл ни одного блока.",
    "block_row": "{time} — <b>{height}</b>, {amount}, {status}{effort}",
    "block_effort": ", усилие {percent}",
    "block_candidate": "только что найден",
    "block_immature": "созревает",
    "block_mature": "созрел",
    "block_orphaned": "потерян",
    "block_unspecified": "неизвестно",
    "alerts_head": "<b>О чём сообщать</b> про <code>{account}</code>\n"
    "Хешрейт ниже {hashrate_percent} % обычного, незасчитанные шары от {reject_percent} %.",
    "kind_worker_offline": "воркер остановился",
    "kind_worker_online": "воркер вернулся",
    "kind_hashrate_low": "хешрейт упал",
    "kind_rejects_high": "шары не засчитаны",
    "kind_credit": "начисления",
    "kind_payout_sent": "выплата отправлена",
    "kind_payout_confirmed": "выплата подтверждена",
    "kind_payout_delayed": "выплата задержана",
    "kind_blocks": "блоки пула",
    "kind_trouble": "неполадки (операторам)",
    "digest_now": "сразу",
    "digest_min": "раз в {minutes} мин",
    "alerts_last": "Что-то одно должно остаться. /unwatch отменит всё.",
    "gone_button": "За этим я больше не слежу.",
    "quiet_off": "Тихих часов нет. Время — по зоне {zone}.",
    "quiet_set": "Тихо с {start} до {end}, {zone}. О том, что случится, расскажу потом.",
    "quiet_usage": "Вот так: <code>/quiet 22:00-07:00 Europe/Moscow</code> или <code>/quiet off</code>.\n{now}",
    "export_name": "lodepool-{account}.csv",
    "export_none": "Для <code>{account}</code> выгружать пока нечего.",
    "pool_view": "<b>{pool}</b>\n{hps_5m} — 5 минут\n{hps_24h} — 24 часа\nАккаунтов: {accounts}, воркеров: {workers}\n"
    "Выплаты: {payer}\nВыплачено: {paid}\nПакетов на проверке: {review}",
    "payer_held": "остановлены оператором",
    "payer_waits": "ждут: {reason}",
    "payer_runs": "идут",
    "held": "Выплаты остановлены. /resume возобновит их.",
    "resumed": "Выплаты возобновлены.",
    "hold_reason": "остановлено из Telegram",
    "not_operator": "Это могут только операторы пула.",
    "group_admins_only": "Это меняют только администраторы группы.",
    "flood": "Слишком много сразу. Отвечу снова через минуту.",
    "service_away": "Пул сейчас не отвечает. Попробуйте немного позже.",
    "failed": "Не получилось; операторы увидят причину в журнале. Попробуйте позже.",
    "inline_title": "{account}: {hps}",
    "inline_hint": "Введите адрес, чтобы посмотреть",
    "page_back": "←",
    "page_on": "→",
    "refresh": "⟳",
    "command_stats": "хешрейт и график",
    "command_workers": "воркеры",
    "command_balance": "баланс",
    "command_payouts": "последние выплаты",
    "command_blocks": "последние блоки",
    "command_watch": "следить за адресом",
    "command_list": "за чем я слежу",
    "command_alerts": "о чём сообщать",
    "command_quiet": "тихие часы",
    "command_export": "таблица начислений и выплат",
    "command_help": "помощь",
}
